//! Answers that stay the same for as long as nothing changes.
//!
//! Invariant: an answer is given again only to whom nothing was told that is newer than when reading for
//! it began, so that whoever changed something sees it; what guests tell beside the store is at most
//! [`FRESH`] old. Its memory is bounded.

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer may stand at all.
const FRESH: Duration = Duration::from_secs(1);
/// The longest answer that is kept, in bytes.
const LONGEST: usize = 1 << 20;
/// All that are kept, in bytes.
const MOST: usize = 4 << 20;

/// What was answered of late, by what was asked for.
#[derive(Default)]
pub struct Answers {
    kept: Mutex<Kept>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<String, Answer>,
    bytes: usize,
}

struct Answer {
    revision: u64,
    at: Instant,
    body: Bytes,
}

impl Answers {
    /// The answer, if it stands for whoever asked at this revision and time.
    pub fn get(&self, asked: &str, revision: u64, now: Instant) -> Option<Bytes> {
        let kept = self.kept();
        let answer = kept.answers.get(asked)?;
        let stands = answer.revision >= revision && now.saturating_duration_since(answer.at) < FRESH;
        stands.then(|| answer.body.clone())
    }

    /// A turn to read anew what was kept before; none is needed for what was not. Whoever waited finds
    /// what the one before has read, so that a change makes one read, and not as many as ask.
    pub async fn turn(&self, asked: &str) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        let known = self.kept().answers.contains_key(asked);
        if known { Some(self.turn.lock().await) } else { None }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an answer for which reading began at this revision and time.
    pub fn put(&self, asked: &str, revision: u64, at: Instant, body: &Bytes) {
        if body.len() > LONGEST {
            return;
        }
        let mut kept = self.kept();
        // One that began earlier may end later.
        if kept.answers.get(asked).is_some_and(|answer| answer.revision > revision) {
            return;
        }
        if kept.bytes + body.len() + asked.len() > MOST {
            *kept = Kept::default();
        }
        let size = |answer: &Answer| answer.body.len() + asked.len();
        let answer = Answer { revision, at, body: body.clone() };
        kept.bytes += size(&answer);
        if let Some(before) = kept.answers.insert(asked.to_owned(), answer) {
            kept.bytes -= size(&before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_until_something_changes_and_not_for_long() {
        let (cache, now) = (Answers::default(), Instant::now());
        let body = Bytes::from_static(b"[]");
        assert_eq!(cache.get("a", 1, now), None);
        cache.put("a", 1, now, &body);
        assert_eq!(cache.get("a", 1, now), Some(body.clone()));
        assert_eq!(cache.get("b", 1, now), None);
        assert_eq!(cache.get("a", 2, now), None);
        assert_eq!(cache.get("a", 1, now + FRESH), None);
        cache.put("a", 2, now, &body);
        assert_eq!(cache.get("a", 3, now), None);
        // Who asked at 1 may know what came later, and what was read earlier does not take its place.
        cache.put("a", 1, now, &Bytes::from_static(b"[1]"));
        assert_eq!((cache.get("a", 1, now), cache.get("a", 2, now)), (Some(body.clone()), Some(body)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (cache, now) = (Answers::default(), Instant::now());
        let body = Bytes::from(vec![b' '; LONGEST]);
        for n in 0..100 {
            cache.put(&n.to_string(), 1, now, &body);
            cache.put(&n.to_string(), 2, now, &body);
            let kept = cache.kept();
            let all: usize = kept.answers.iter().map(|(k, a)| k.len() + a.body.len()).sum();
            assert_eq!(all, kept.bytes);
            assert!(all <= MOST && kept.answers.contains_key(&n.to_string()));
        }
        cache.put("long", 1, now, &Bytes::from(vec![b' '; LONGEST + 1]));
        assert_eq!(cache.get("long", 1, now), None);
    }
}
