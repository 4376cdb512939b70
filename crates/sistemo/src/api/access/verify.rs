//! From a token or a cookie to somebody.
//!
//! Invariant: an answer is remembered only together with the epoch of what it was read from, and
//! the epoch is read first, so that one that has changed since is read again.

use super::{Caller, From, How, secret};
use crate::api::Shared;
use crate::api::call::call;
use crate::api::problem::Failure;
use axum::http::{HeaderMap, header};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use types::operation::{Kind, Target};
use types::{Actor, Code, Problem, Timestamp, Verb};

/// The cookie of a session.
pub const COOKIE: &str = "sistemo_session";
/// The most answers that are remembered.
const MOST: usize = 1024;

/// Who was recognised of late, by the hash of what they showed.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<String, (u64, Known)>>);

/// Somebody, wherever they are.
#[derive(Clone)]
struct Known {
    name: String,
    role: types::Role,
    how: How,
    expires_at: Option<Timestamp>,
}

impl Cache {
    fn get(&self, hash: &str, epoch: u64) -> Option<Known> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(hash).filter(|(at, _)| *at == epoch).map(|(_, known)| known.clone())
    }

    fn put(&self, hash: &str, epoch: u64, known: &Known) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(hash.to_owned(), (epoch, known.clone()));
    }
}

/// What a request shows to say who asks.
pub enum Shown {
    /// `Authorization: Bearer …`.
    Token(String),
    /// The cookie: a user's name and the session's secret.
    Session(String, String),
    /// Something else, or nothing.
    Nothing,
}

/// Looks for a token, then for a session.
pub fn shown(headers: &HeaderMap) -> Shown {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, rest) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
        return if scheme.eq_ignore_ascii_case("bearer") {
            Shown::Token(rest.trim().to_owned())
        } else {
            Shown::Nothing
        };
    }
    let cookies = headers.get_all(header::COOKIE);
    let mut pairs = cookies.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    let value = pairs.find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    match value.and_then(|v| v.split_once('.')) {
        Some((user, secret)) => Shown::Session(user.to_owned(), secret.to_owned()),
        None => Shown::Nothing,
    }
}

/// Finds out who shows this.
pub async fn caller(app: &Shared, shown: Shown, from: From) -> Result<Caller, Failure> {
    let (hash, whose) = match &shown {
        Shown::Token(token) => (secret::hash(token), secret::prefix(token).unwrap_or("?").to_owned()),
        Shown::Session(user, secret) => (secret::hash(&format!("{user}.{secret}")), user.clone()),
        Shown::Nothing => return Err(unknown("it is not said who asks")),
    };
    let epoch = app.engine.access_epoch();
    let known = match app.gate.cache.get(&hash, epoch) {
        Some(known) => Some(known),
        None => {
            let found = find(app, &shown, hash.clone()).await?;
            if let Some(known) = &found {
                app.gate.cache.put(&hash, epoch, known);
            }
            found
        }
    };
    let known = known.filter(|k| k.expires_at.is_none_or(|at| at > app.engine.now()));
    let Some(known) = known else {
        let failure = unknown(match shown {
            Shown::Session(..) => "the session has ended",
            _ => "the token is not good, or not any more",
        });
        note(app, &shown, &whose, from, Some(failure.problem().clone())).await;
        return Err(failure);
    };
    let actor = Actor(format!("{}@{}", known.name, from.place()));
    if matches!(known.how, How::Token(..)) {
        note(app, &shown, known.name.trim_start_matches("token:"), from, None).await;
    }
    Ok(Caller { actor, role: known.role, how: known.how, expires_at: known.expires_at })
}

async fn find(app: &Shared, shown: &Shown, hash: String) -> Result<Option<Known>, Failure> {
    match shown {
        Shown::Token(token) => {
            let Some(prefix) = secret::prefix(token).map(ToOwned::to_owned) else { return Ok(None) };
            let of = prefix.clone();
            let record = call(app, move |engine| engine.token(&of)).await?;
            Ok(record.filter(|r| secret::matches(token, &r.hash)).map(|r| Known {
                name: format!("token:{}", r.about.name),
                role: r.about.role,
                how: How::Token(prefix, r.hash),
                expires_at: r.about.expires_at,
            }))
        }
        Shown::Session(user, _) => {
            let (user, kept) = (user.clone(), hash.clone());
            let found = call(app, move |engine| engine.session(&user, &kept)).await?;
            Ok(found.map(|(session, user)| Known {
                name: format!("user:{}", user.about.name),
                role: user.about.role,
                how: How::Session(user.about.name.to_string(), hash),
                expires_at: Some(session.expires_at),
            }))
        }
        Shown::Nothing => Ok(None),
    }
}

/// How often it is looked whether who follows a stream may still.
const LOOK: Duration = Duration::from_secs(1);

/// Completes once somebody may do no more of what they could when they asked: their token was revoked, their
/// user is gone or has another password, their time is over.
pub async fn no_longer(app: &Shared, caller: &Caller) {
    if caller.how == How::Local {
        return std::future::pending().await;
    }
    let mut seen = None;
    loop {
        let epoch = app.engine.access_epoch();
        let over = caller.expires_at.is_some_and(|at| at <= app.engine.now());
        if over {
            return;
        }
        if seen != Some(epoch) {
            match still(app, &caller.how).await {
                Ok(true) => seen = Some(epoch),
                Ok(false) => return,
                // It is looked up again.
                Err(_) => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn still(app: &Shared, how: &How) -> Result<bool, Failure> {
    match how.clone() {
        How::Local => Ok(true),
        How::Token(prefix, hash) => {
            call(app, move |engine| Ok(engine.token(&prefix)?.is_some_and(|r| r.hash == hash))).await
        }
        How::Session(user, hash) => {
            call(app, move |engine| Ok(engine.session(&user, &hash)?.is_some())).await
        }
    }
}

/// A line in the history for the first use of late, or for the first refusal of late.
async fn note(app: &Shared, shown: &Shown, whose: &str, from: From, problem: Option<Problem>) {
    let place = from.place();
    let (kind, word) = match shown {
        Shown::Session(..) => (Kind::User, "user"),
        _ => (Kind::Token, "token"),
    };
    let new = match problem {
        None => app.gate.used.is_new(&format!("{whose}@{place}"), Instant::now()),
        Some(_) => app.gate.refused.is_new(&from.crowd(), Instant::now()),
    };
    if !new {
        return;
    }
    let actor = match problem {
        None => Actor(format!("{word}:{whose}@{place}")),
        Some(_) => Actor(format!("unknown@{place}")),
    };
    let target = Target { kind, id: None, name: whose.chars().take(64).collect() };
    let noted = call(app, move |engine| match &problem {
        None => engine.used(&actor, Verb::TokenUse, target),
        Some(problem) => {
            engine.refused(&actor, Verb::TokenUse, target, problem);
            Ok(())
        }
    });
    if let Err(failure) = noted.await {
        tracing::error!("a use could not be recorded: {}", failure.problem());
    }
}

/// The refusal of somebody who is not known.
pub fn unknown(why: &str) -> Failure {
    let problem = Problem::new(Code::NotAuthenticated, why).hint(
        "send a token (`sistemo token create` makes one; the command line takes it from SISTEMO_TOKEN)",
    );
    Failure::from(problem).header(header::WWW_AUTHENTICATE, "Bearer realm=\"sistemo\"")
}
