//! Names people give to machines, volumes, images and networks.
//!
//! Invariant: a [`Name`] is a DNS label (RFC 1123) in lower case and never looks like an id, so it
//! can serve as host name, mount point and route segment, and "id or name" is never ambiguous.

use crate::code::{Code, Problem};
use crate::id::looks_like_id;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// A validated name: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", example = "web")]
pub struct Name(String);

impl Name {
    /// The longest name, in characters: one DNS label.
    pub const MAX: usize = 63;
    /// The longest name of a machine, so that `NAME-root` is a name too.
    pub const MAX_MACHINE: usize = 58;

    /// Validates `text`.
    ///
    /// # Errors
    /// `invalid-name`, with the first reason that applies.
    pub fn new(text: &str) -> Result<Self, Problem> {
        let bad = |why: String| {
            Err(Problem::new(Code::InvalidName, why)
                .hint("a name has 1 to 63 of a-z, 0-9 and '-', and begins and ends with a letter or digit"))
        };
        if text.is_empty() {
            return bad("a name cannot be empty".into());
        }
        if text.chars().count() > Self::MAX {
            return bad(format!("a name has at most {} characters", Self::MAX));
        }
        if let Some(c) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return bad(format!("\"{}\" is not a name: {c:?} is not allowed", text.escape_debug()));
        }
        if text.starts_with('-') || text.ends_with('-') {
            return bad(format!("\"{text}\" is not a name: it begins or ends with '-'"));
        }
        if looks_like_id(text) {
            return bad(format!("\"{text}\" looks like an id, so it cannot be a name"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Validates a machine's name, which is shorter (see [`Name::MAX_MACHINE`]).
    ///
    /// # Errors
    /// `invalid-name`.
    pub fn machine(text: &str) -> Result<Self, Problem> {
        let name = Self::new(text)?;
        if name.0.len() > Self::MAX_MACHINE {
            return Err(Problem::new(
                Code::InvalidName,
                format!("a machine's name has at most {} characters", Self::MAX_MACHINE),
            )
            .hint("its root volume is called NAME-root, which must be a name too"));
        }
        Ok(name)
    }

    /// The name of the root volume of a machine of this name.
    pub fn root_volume(&self) -> Self {
        Self(format!("{}-root", self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Name {
    type Err = Problem;
    fn from_str(s: &str) -> Result<Self, Problem> {
        Self::new(s)
    }
}

impl TryFrom<String> for Name {
    type Error = Problem;
    fn try_from(s: String) -> Result<Self, Problem> {
        Self::new(&s)
    }
}

impl From<Name> for String {
    fn from(n: Name) -> String {
        n.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_not_a_name() {
        let long = "a".repeat(64);
        for bad in [
            "",
            "../x",
            "Web",
            "ünï",
            "-a",
            "a-",
            "--flag",
            "a b",
            "a/b",
            "a.b",
            &long,
            "a\0b",
            "0192f0c1-2345-7abc-8def-0123456789ab",
            "0192f0c123457abc8def0123456789ab",
        ] {
            assert_eq!(Name::new(bad).unwrap_err().code, Code::InvalidName, "{bad:?}");
        }
    }

    #[test]
    fn a_machine_leaves_room_for_its_root() {
        assert!(Name::machine(&"a".repeat(58)).unwrap().root_volume().as_str().len() == 63);
        assert!(Name::machine(&"a".repeat(59)).is_err());
    }

    proptest! {
        #[test]
        fn accepts_the_pattern(s in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?") {
            let name = Name::new(&s).unwrap();
            prop_assert_eq!(name.as_str(), s);
        }

        #[test]
        fn never_panics(s in any::<String>()) {
            let _ = Name::new(&s);
        }
    }
}
