//! Who may do what: roles, tokens, users and sessions.
//!
//! Invariant: a secret is in exactly one type here, [`Secret`], which shows itself to nobody by
//! accident: neither `Debug` nor a log line carries it.

use crate::id::TokenId;
use crate::meta::Timestamp;
use crate::name::Name;
use crate::{Code, Problem};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// The least characters of a password (NIST SP 800-63B, 5.1.1.2, asks for eight; ours open hosts).
pub const MIN_PASSWORD: usize = 10;
/// The most bytes of a password: hashing is slow on purpose, and more so for long ones.
pub const MAX_PASSWORD: usize = 1024;

/// What somebody may do; each role may do all that the ones before it may.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything but tokens and users.
    Viewer,
    /// Changes machines, volumes, images and networks, and goes into guests.
    Operator,
    /// Everything, pools, tokens and users included.
    Admin,
}

impl Role {
    /// All of them, the least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The stable spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Problem;
    fn from_str(s: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|r| r.as_str() == s).ok_or_else(|| {
            Problem::new(Code::InvalidRequest, format!("there is no role \"{}\"", s.escape_debug()))
                .hint("a role is viewer, operator or admin")
        })
    }
}

/// A password, a token or a code: something that is never shown but where it is meant to be.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Secret(String);

/// Not derived: a parser's refusal repeats the value that it refuses, and a password that was written without
/// quotes is a number.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Text(String),
            Other(IgnoredAny),
        }
        match Shape::deserialize(from)? {
            Shape::Text(text) => Ok(Self(text)),
            Shape::Other(_) => Err(D::Error::custom("a secret is a string, in quotes")),
        }
    }
}

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever checks or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Refuses what is no usable password.
    ///
    /// # Errors
    /// `invalid-request`.
    pub fn usable_password(&self) -> Result<(), Problem> {
        let bad = |why: String| Err(Problem::new(Code::InvalidRequest, why).hint("choose another password"));
        if self.0.chars().count() < MIN_PASSWORD {
            return bad(format!("a password has at least {MIN_PASSWORD} characters"));
        }
        if self.0.len() > MAX_PASSWORD {
            return bad(format!("a password has at most {MAX_PASSWORD} bytes"));
        }
        Ok(())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A token as the API shows it: everything but the token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "Token")]
pub struct Token {
    /// The token's id.
    pub id: TokenId,
    /// Its name, which history carries.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being good; `null`: never.
    pub expires_at: Option<Timestamp>,
}

/// A token that was just made; the only answer that ever carries it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token itself; it is shown once and kept nowhere.
    pub token: Secret,
    /// What is kept of it.
    #[serde(flatten)]
    pub about: Token,
}

/// Asks for a token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it may do.
    pub role: Role,
    /// Its name; without one, Sistemo makes one up.
    #[serde(default)]
    pub name: Option<Name>,
    /// After how many seconds it stops being good, 1 to 315360000; without, never.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 315_360_000)]
    pub expires_in_seconds: Option<u64>,
}

/// The longest life of a token, in seconds: ten years.
pub const MAX_TOKEN_LIFE: u64 = 315_360_000;

/// A user as the API shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[schema(title = "User")]
pub struct User {
    /// The user's name.
    pub name: Name,
    /// What the user may do.
    pub role: Role,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// Asks for a user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The user's name.
    pub name: Name,
    /// What the user may do.
    pub role: Role,
    /// The password.
    pub password: Secret,
}

/// Asks for another password.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password from now on.
    pub password: Secret,
}

/// Asks for a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: Secret,
}

/// Makes the first admin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The code of the link that the daemon printed.
    pub code: Secret,
    /// The admin's name.
    pub name: Name,
    /// The admin's password.
    pub password: Secret,
}

/// Who asks, as the daemon sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// As history names them.
    pub actor: String,
    /// What they may do.
    pub role: Role,
    /// When the session or token ends; `null`: not by itself.
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_itself() {
        let asked = Login { name: "ada".into(), password: Secret::new("correct horse") };
        assert!(!format!("{asked:?}").contains("horse"));
    }

    #[test]
    fn a_secret_that_is_no_text_is_not_repeated() {
        for text in ["1234567890", "12345.67890", "-1234567890", "[1234567890]", "{\"1234567890\": 1}"] {
            let refused = serde_json::from_str::<Secret>(text).unwrap_err().to_string();
            assert!(refused.contains("a secret is a string") && !refused.contains("67890"), "{refused}");
        }
        assert_eq!(serde_json::from_str::<Secret>("\"1234567890\"").unwrap().expose(), "1234567890");
    }

    #[test]
    fn roles_are_ordered_and_spelled() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!("root".parse::<Role>().unwrap_err().code, Code::InvalidRequest);
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(Secret::new("123456789").usable_password().is_err());
        assert!(Secret::new("x".repeat(MAX_PASSWORD + 1)).usable_password().is_err());
        assert!(Secret::new("0123456789").usable_password().is_ok());
    }
}
