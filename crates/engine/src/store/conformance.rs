//! What every store must do; each store's tests run all of it.

use super::{Cause, Check, Limit, Store, StoreError, Txn, Watch};
use std::sync::Arc;
use types::{Actor, Verb};

/// A transaction that writes one key without a check.
pub fn put(key: &str, value: &str) -> Txn {
    Txn {
        checks: vec![],
        puts: vec![(key.into(), value.into())],
        deletes: vec![],
        cause: Cause { actor: Actor::system(), operation: None, verb: Verb::Reconcile },
    }
}

fn checked(key: &str, check: Check, value: &str) -> Txn {
    Txn { checks: vec![(key.into(), check)], ..put(key, value) }
}

/// Runs the whole suite; `make` gives a new, empty store at every call.
///
/// # Panics
/// At the first thing that is not as it must be.
pub fn all(make: &mut dyn FnMut() -> Box<dyn Store>) {
    reads_what_was_written(&*make());
    checks_guard(&*make());
    a_failed_check_changes_nothing(&*make());
    scans_by_prefix(&*make());
    watches(&*make());
    refuses_what_etcd_would(&*make());
    one_of_many_wins(Arc::from(make()));
}

fn reads_what_was_written(s: &dyn Store) {
    assert_eq!(s.revision().unwrap(), 0);
    assert!(s.get("a").unwrap().is_none());
    let r1 = s.commit(put("a", "1")).unwrap();
    let r2 = s.commit(put("a", "2")).unwrap();
    assert!(r2 > r1);
    let e = s.get("a").unwrap().unwrap();
    assert_eq!((e.value.as_slice(), e.revision), (b"2".as_slice(), r2));
    s.commit(Txn { puts: vec![], deletes: vec!["a".into(), "never".into()], ..put("", "") }).unwrap();
    assert!(s.get("a").unwrap().is_none());
}

fn checks_guard(s: &dyn Store) {
    let r = s.commit(checked("a", Check::Absent, "1")).unwrap();
    assert_eq!(s.commit(checked("a", Check::Absent, "2")), Err(StoreError::Conflict("a".into())));
    assert_eq!(s.commit(checked("a", Check::RevisionIs(r + 1), "2")), Err(StoreError::Conflict("a".into())));
    assert_eq!(s.commit(checked("b", Check::RevisionIs(r), "2")), Err(StoreError::Conflict("b".into())));
    s.commit(checked("a", Check::RevisionIs(r), "2")).unwrap();
}

fn a_failed_check_changes_nothing(s: &dyn Store) {
    s.commit(put("a", "1")).unwrap();
    let before = s.revision().unwrap();
    let txn = Txn {
        checks: vec![("x".into(), Check::Absent), ("a".into(), Check::Absent)],
        puts: vec![("x".into(), b"1".to_vec())],
        deletes: vec!["a".into()],
        ..put("", "")
    };
    assert!(s.commit(txn).is_err());
    assert!(s.get("x").unwrap().is_none() && s.get("a").unwrap().is_some());
    assert_eq!(s.revision().unwrap(), before);
}

fn scans_by_prefix(s: &dyn Store) {
    for k in ["v/1", "v/2", "v/3", "va", "u/9", "w"] {
        s.commit(put(k, k)).unwrap();
    }
    let keys =
        |l: Limit<'_>| -> Vec<String> { s.scan("v/", l).unwrap().into_iter().map(|e| e.key).collect() };
    assert_eq!(keys(Limit::All), ["v/1", "v/2", "v/3"]);
    assert_eq!(keys(Limit::Last(2)), ["v/3", "v/2"]);
    assert_eq!(keys(Limit::First(2)), ["v/1", "v/2"]);
    assert_eq!(keys(Limit::Before("v/3", 1)), ["v/2"]);
    assert_eq!(keys(Limit::Before("v/2x", 9)), ["v/2", "v/1"]);
    assert_eq!(keys(Limit::Before("w", 1)), ["v/3"]);
    assert_eq!(keys(Limit::Before("u", 9)), [""; 0]);
    assert_eq!(s.scan("", Limit::All).unwrap().len(), 6);
}

fn watches(s: &dyn Store) {
    let r1 = s.commit(put("v/1", "1")).unwrap();
    s.commit(put("u/1", "1")).unwrap();
    s.commit(Txn { puts: vec![], deletes: vec!["v/1".into(), "v/none".into()], ..put("", "") }).unwrap();
    let Watch::Changes(c) = s.watch("v/", 0).unwrap() else { panic!("compacted") };
    assert_eq!(
        c.iter().map(|c| (c.key.as_str(), c.deleted)).collect::<Vec<_>>(),
        [("v/1", false), ("v/1", true)]
    );
    let Watch::Changes(c) = s.watch("v/", r1).unwrap() else { panic!("compacted") };
    assert_eq!(c.len(), 1);
}

fn refuses_what_etcd_would(s: &dyn Store) {
    let many = |n: usize| (0..n).map(|i| (format!("k{i}"), vec![b'1'])).collect::<Vec<_>>();
    s.commit(Txn { puts: many(super::MAX_OPS), ..put("", "") }).unwrap();
    assert_eq!(s.commit(Txn { puts: many(super::MAX_OPS + 1), ..put("", "") }), Err(StoreError::TooLarge));
    let twice = Txn { puts: vec![("a".into(), vec![]), ("a".into(), vec![])], ..put("", "") };
    assert_eq!(s.commit(twice), Err(StoreError::TooLarge));
    let both = Txn { deletes: vec!["a".into()], ..put("a", "1") };
    assert_eq!(s.commit(both), Err(StoreError::TooLarge));
    let large = Txn { puts: vec![("a".into(), vec![0; super::MAX_BYTES + 1])], ..put("", "") };
    assert_eq!(s.commit(large), Err(StoreError::TooLarge));
}

fn one_of_many_wins(s: Arc<dyn Store>) {
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let s = s.clone();
            std::thread::spawn(move || s.commit(checked("claim", Check::Absent, &n.to_string())).is_ok())
        })
        .collect();
    let won = threads.into_iter().map(|t| t.join().unwrap()).filter(|w| *w).count();
    assert_eq!(won, 1);
}
