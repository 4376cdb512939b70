//! Users and their sessions.
//!
//! Invariant: a session is good only for the user and the password it was opened with: it carries
//! the user's id and epoch, and every change of the password makes the epoch another.

use super::taken;
use crate::db::{Change, Rev};
use crate::store::Limit;
use crate::{Engine, key};
use serde::{Deserialize, Serialize};
use types::access::User;
use types::operation::Kind;
use types::{Actor, Code, Name, Problem, Role, Timestamp, Verb};
use uuid::Uuid;

/// The most sessions of one user; the oldest makes room for the next.
const MAX_SESSIONS: usize = 32;

/// What is kept of a user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UserRecord {
    /// What may be shown.
    pub about: User,
    /// Tells this user from an earlier one of the same name.
    pub id: Uuid,
    /// Moves with the password.
    pub epoch: u64,
    /// What argon2id made of the password, in its text form.
    pub password: String,
}

/// What is kept of a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Whose.
    pub user: Uuid,
    /// The user's epoch when it was opened.
    pub epoch: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Engine {
    fn put_user(&self, change: &mut Change, name: &Name, role: Role, password: &str) -> (Uuid, User) {
        let about = User { name: name.clone(), role, created_at: self.0.ports.clock.now() };
        let id = self.0.ports.clock.new_id();
        let record = UserRecord { about: about.clone(), id, epoch: 1, password: password.to_owned() };
        change.claim(key::user(name.as_str()), &record);
        (id, about)
    }

    /// Keeps a new user; `password` is what argon2id made of it.
    ///
    /// # Errors
    /// `name-taken`, `database-failed`.
    pub fn create_user(
        &self,
        actor: &Actor,
        name: &Name,
        role: Role,
        password: &str,
    ) -> Result<User, Problem> {
        self.settle(actor, Verb::UserCreate, (Kind::User, name.as_str()), |change| {
            if self.user(name.as_str())?.is_some() {
                return Err(taken(Kind::User, name.as_str()));
            }
            // Once there is an admin, whoever made it, the link that was printed opens nothing.
            if role == Role::Admin && self.setup_open()? {
                change.claim(key::SETUP.to_owned(), &name);
            }
            let (id, about) = self.put_user(change, name, role, password);
            Ok((Some(id), about))
        })
    }

    /// Whether there has never been an admin.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn setup_open(&self) -> Result<bool, Problem> {
        Ok(self.0.db.0.get(key::SETUP)?.is_none())
    }

    /// Keeps the first admin; of several who try at once, one gets it.
    ///
    /// # Errors
    /// `no-permission` if there has been one, `name-taken`, `database-failed`.
    pub fn first_admin(&self, actor: &Actor, name: &Name, password: &str) -> Result<User, Problem> {
        self.settle(actor, Verb::Setup, (Kind::User, name.as_str()), |change| {
            if !self.setup_open()? {
                return Err(Problem::new(
                    Code::NoPermission,
                    "the set-up is over: there is an admin already",
                )
                .hint("log in, or on the daemon's host use `sistemo user create NAME --role admin`"));
            }
            if self.user(name.as_str())?.is_some() {
                return Err(taken(Kind::User, name.as_str()));
            }
            change.claim(key::SETUP.to_owned(), &name);
            let (id, about) = self.put_user(change, name, Role::Admin, password);
            Ok((Some(id), about))
        })
    }

    /// All users, by name.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn users(&self) -> Result<Vec<User>, Problem> {
        let all = self.0.db.scan::<UserRecord>(key::USERS, Limit::All)?;
        Ok(all.into_iter().map(|r| r.value.about).collect())
    }

    /// The user of this name, if there is one.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn user(&self, name: &str) -> Result<Option<Rev<UserRecord>>, Problem> {
        // What is no name is nobody's, and must not become part of a key.
        match Name::new(name) {
            Ok(name) => self.0.db.get(&key::user(name.as_str())),
            Err(_) => Ok(None),
        }
    }

    fn find_user(&self, name: &str) -> Result<Rev<UserRecord>, Problem> {
        self.user(name)?.ok_or_else(|| {
            Problem::new(Code::UserNotFound, format!("there is no user \"{}\"", name.escape_debug()))
                .hint("`sistemo user list` shows who there is")
        })
    }

    /// Changes a password and ends the user's sessions.
    ///
    /// # Errors
    /// `user-not-found`, `database-failed`.
    pub fn set_password(&self, actor: &Actor, name: &str, password: &str) -> Result<User, Problem> {
        self.settle(actor, Verb::UserPasswd, (Kind::User, name), |change| {
            let found = self.find_user(name)?;
            let mut new = found.value.clone();
            new.epoch += 1;
            password.clone_into(&mut new.password);
            change.update(&found, &new);
            self.end_sessions(change, name)?;
            Ok((Some(new.id), new.about))
        })
    }

    /// Removes a user and ends the user's sessions.
    ///
    /// # Errors
    /// `user-not-found`, `database-failed`.
    pub fn delete_user(&self, actor: &Actor, name: &str) -> Result<User, Problem> {
        self.settle(actor, Verb::UserDelete, (Kind::User, name), |change| {
            let found = self.find_user(name)?;
            change.on(&found).delete(found.key.clone());
            self.end_sessions(change, name)?;
            Ok((Some(found.id), found.value.about.clone()))
        })
    }

    /// Housekeeping only: a session that this misses is not good any more either.
    fn end_sessions(&self, change: &mut Change, user: &str) -> Result<(), Problem> {
        for session in self.0.db.0.scan(&key::sessions(user), Limit::Last(2 * MAX_SESSIONS))? {
            change.delete(session.key);
        }
        Ok(())
    }

    /// Opens a session for a user whose password was checked against `user`.
    ///
    /// # Errors
    /// `conflict` if the user has changed since, `database-failed`.
    pub fn open_session(
        &self,
        actor: &Actor,
        user: &Rev<UserRecord>,
        hash: &str,
        expires_at: Timestamp,
    ) -> Result<(), Problem> {
        let name = user.about.name.as_str();
        self.settle(actor, Verb::Login, (Kind::User, name), |change| {
            let now = self.0.ports.clock.now();
            let mut others =
                self.0.db.scan::<SessionRecord>(&key::sessions(name), Limit::Last(2 * MAX_SESSIONS))?;
            others.sort_by_key(|s| std::cmp::Reverse(s.created_at));
            for (n, other) in others.iter().enumerate() {
                if n + 1 >= MAX_SESSIONS || other.expires_at <= now {
                    change.delete(other.key.clone());
                }
            }
            let session = SessionRecord { user: user.id, epoch: user.epoch, created_at: now, expires_at };
            change.on(user).put(key::session(name, hash), &session);
            Ok((Some(user.id), ()))
        })
    }

    /// The session of `user` with this hash and its user, while it is good.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn session(&self, user: &str, hash: &str) -> Result<Option<(SessionRecord, UserRecord)>, Problem> {
        let Some(owner) = self.user(user)? else { return Ok(None) };
        let Some(session) = self.0.db.get::<SessionRecord>(&key::session(user, hash))? else {
            return Ok(None);
        };
        let good = session.user == owner.id
            && session.epoch == owner.epoch
            && session.expires_at > self.0.ports.clock.now();
        Ok(good.then_some((session.value, owner.value)))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn close_session(&self, actor: &Actor, user: &str, hash: &str) -> Result<(), Problem> {
        self.settle(actor, Verb::Logout, (Kind::User, user), |change| {
            change.delete(key::session(user, hash));
            Ok((None, ()))
        })
    }
}

#[cfg(test)]
mod tests;
