//! Opening sessions, and the first admin.

use super::guard::too_many;
use super::verify::{COOKIE, unknown};
use super::{From, Gate, secret};
use crate::api::Shared;
use crate::api::call::{self, call, write};
use crate::api::problem::Failure;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;
use types::access::{Login, MAX_PASSWORD, Secret, Session, Setup};
use types::operation::Kind;
use types::{Actor, Code, Problem, Timestamp, Verb};

impl Gate {
    /// What to keep of a password.
    pub(crate) async fn keep_password(&self, password: Secret) -> Result<String, Problem> {
        self.passwords.keep(password).await
    }

    /// Checks a password and opens a session; returns it with the value of `Set-Cookie`.
    pub(crate) async fn log_in(
        &self,
        app: &Shared,
        asked: Login,
        from: From,
    ) -> Result<(Session, String), Failure> {
        self.may_try(from)?;
        let address = address(from);
        if let Some(wait) = self.lockout.locked(&asked.name, address, Instant::now()) {
            return Err(too_many("failed logins", wait));
        }
        let name = asked.name.clone();
        let user = call(app, move |engine| engine.user(&name)).await?;
        let kept = user.as_ref().map(|u| u.password.clone());
        let short = asked.password.expose().len() <= MAX_PASSWORD;
        let right = short && self.passwords.is(asked.password, kept).await?;
        let Some(user) = user.filter(|_| right) else {
            self.lockout.failed(&asked.name, address, Instant::now());
            let failure = unknown("the name or the password is wrong");
            self.refuse(app, Verb::Login, &asked.name, from, failure.problem()).await?;
            return Err(failure);
        };
        self.lockout.succeeded(&asked.name, address);
        let random = secret::random(32)?;
        let value = format!("{}.{random}", asked.name);
        let hash = secret::hash(&value);
        let life = self.live().rules.session_timeout;
        let role = user.about.role;
        let actor = Actor(format!("user:{}@{}", asked.name, from.place()));
        let opener = actor.clone();
        let expires_at = write(app, move |engine| {
            let expires_at = Timestamp::from_millis(
                engine.now().millis().saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX)),
            );
            engine.open_session(&opener, &user, &hash, expires_at)?;
            Ok(expires_at)
        })
        .await?;
        let secure = if from.0.is_some_and(|r| r.tls) { "; Secure" } else { "" };
        let cookie = format!(
            "{COOKIE}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}",
            life.as_secs()
        );
        Ok((Session { actor: actor.0, role, expires_at: Some(expires_at) }, cookie))
    }

    /// Refuses whoever tries to come in more often than anybody mistypes a password.
    pub(crate) fn may_try(&self, from: From) -> Result<(), Failure> {
        self.logins.take(address(from)).map_err(|wait| too_many("logins", wait))
    }

    /// Refuses whoever does not have the code of the set-up link.
    pub(crate) async fn may_set_up(&self, app: &Shared, actor: &Actor, asked: &Setup) -> Result<(), Failure> {
        if self.is_setup_code(asked.code.expose()) {
            return Ok(());
        }
        let problem = Problem::new(Code::NoPermission, "the code of the set-up link is not right")
            .hint("`sistemo up` prints the link until there is an admin");
        self.refuse_as(app, actor.clone(), Verb::Setup, asked.name.as_str(), &problem).await?;
        Err(problem.into())
    }

    async fn refuse(
        &self,
        app: &Shared,
        verb: Verb,
        name: &str,
        from: From,
        problem: &Problem,
    ) -> Result<(), Failure> {
        self.refuse_as(app, Actor(format!("unknown@{}", from.place())), verb, name, problem).await
    }

    async fn refuse_as(
        &self,
        app: &Shared,
        actor: Actor,
        verb: Verb,
        name: &str,
        problem: &Problem,
    ) -> Result<(), Failure> {
        // Somebody may have typed the password where the name goes: what is no name is not kept.
        let name = types::Name::new(name).map(|n| n.to_string()).unwrap_or_default();
        call::refused(app, &actor, verb, (Kind::User, &name), problem).await
    }
}

fn address(from: From) -> IpAddr {
    from.0.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |r| r.address)
}
