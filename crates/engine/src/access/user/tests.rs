use super::*;
use crate::Settings;
use crate::sim::World;
use std::time::Duration;
use types::access::CreateToken;
use types::operation::Outcome;

fn engine() -> (World, Engine) {
    let world = World::new();
    let engine = world.boot(Settings::default()).unwrap();
    (world, engine)
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn later(engine: &Engine, seconds: u64) -> Timestamp {
    crate::plan::machine::after(engine.0.ports.clock.now(), Duration::from_secs(seconds))
}

#[test]
fn a_password_change_and_a_removal_end_sessions() {
    let (world, engine) = engine();
    let root = Actor("root".into());
    engine.create_user(&root, &name("ada"), Role::Viewer, "phc").unwrap();
    let open = |hash: &str| {
        let user = engine.user("ada").unwrap().unwrap();
        engine.open_session(&root, &user, hash, later(&engine, 60)).unwrap();
        assert!(engine.session("ada", hash).unwrap().is_some());
    };
    open("h1");
    let before = engine.user("ada").unwrap().unwrap();
    engine.set_password(&root, "ada", "phc2").unwrap();
    assert!(engine.session("ada", "h1").unwrap().is_none());
    // A login that was checked against the old password comes too late.
    let problem = engine.open_session(&root, &before, "h2", later(&engine, 60)).unwrap_err();
    assert_eq!(problem.code, Code::Conflict);
    open("h3");
    engine.delete_user(&root, "ada").unwrap();
    engine.create_user(&root, &name("ada"), Role::Admin, "phc").unwrap();
    assert!(engine.session("ada", "h3").unwrap().is_none());
    open("h4");
    world.pass(60_000);
    assert!(engine.session("ada", "h4").unwrap().is_none());
}

#[test]
fn sessions_are_bounded() {
    let (world, engine) = engine();
    let root = Actor("root".into());
    engine.create_user(&root, &name("ada"), Role::Viewer, "phc").unwrap();
    for n in 0..100 {
        world.pass(1);
        let user = engine.user("ada").unwrap().unwrap();
        engine.open_session(&root, &user, &format!("h{n}"), later(&engine, 60)).unwrap();
    }
    let kept = engine.0.db.0.scan(&key::sessions("ada"), Limit::All).unwrap();
    assert_eq!(kept.len(), MAX_SESSIONS);
    assert!(engine.session("ada", "h99").unwrap().is_some());
}

#[test]
fn one_of_many_becomes_the_first_admin() {
    let (_, engine) = engine();
    let won: Vec<_> = std::thread::scope(|s| {
        let all: Vec<_> = (0..8)
            .map(|n| {
                let engine = engine.clone();
                s.spawn(move || engine.first_admin(&Actor(n.to_string()), &name(&format!("a{n}")), "phc"))
            })
            .collect();
        all.into_iter().filter_map(|t| t.join().unwrap().ok()).collect()
    });
    assert_eq!(won.len(), 1);
    assert_eq!(engine.users().unwrap(), won);
    assert!(!engine.setup_open().unwrap());
    let root = Actor("root".into());
    engine.delete_user(&root, won[0].name.as_str()).unwrap();
    assert_eq!(engine.first_admin(&root, &name("b"), "phc").unwrap_err().code, Code::NoPermission);
}

#[test]
fn tokens_come_and_go_and_history_knows() {
    let (_, engine) = engine();
    let root = Actor("root".into());
    let asked = CreateToken { role: Role::Operator, name: Some(name("ci")), expires_in_seconds: Some(60) };
    let made = engine.create_token(&root, &asked, "p1", "hash").unwrap();
    assert_eq!(engine.create_token(&root, &asked, "p2", "hash").unwrap_err().code, Code::NameTaken);
    let endless = CreateToken { expires_in_seconds: Some(u64::MAX), name: None, ..asked };
    assert_eq!(engine.create_token(&root, &endless, "p3", "hash").unwrap_err().code, Code::InvalidRequest);
    assert_eq!(engine.token("p1").unwrap().unwrap().about, made);
    assert_eq!(engine.tokens().unwrap(), std::slice::from_ref(&made));
    let epoch = engine.access_epoch();
    engine.revoke_token(&root, &made.id.to_string()).unwrap();
    assert_ne!(engine.access_epoch(), epoch);
    assert_eq!(engine.revoke_token(&root, "ci").unwrap_err().code, Code::TokenNotFound);
    assert!(engine.token("p1").unwrap().is_none());
    let seen: Vec<_> = engine
        .history(&crate::HistoryQuery::default())
        .unwrap()
        .into_iter()
        .rev()
        .map(|l| (l.action, l.outcome))
        .collect();
    assert_eq!(
        seen,
        [
            (Verb::TokenCreate, Outcome::Succeeded),
            (Verb::TokenCreate, Outcome::Refused),
            (Verb::TokenCreate, Outcome::Refused),
            (Verb::TokenRevoke, Outcome::Succeeded),
            (Verb::TokenRevoke, Outcome::Refused),
        ]
    );
}
