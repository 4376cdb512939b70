//! Labels: what people sort machines and volumes by.
//!
//! Invariant: what exists has at most [`MOST`] labels, each key and value of which is short and plain,
//! so that they can stand in a table, a query and a sidecar as they are.

use crate::code::{Code, Problem};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// The most labels that one thing has.
pub const MOST: usize = 32;
/// The longest key, and the longest value, in characters.
const LONGEST: usize = 63;

/// Labels by key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
#[schema(value_type = BTreeMap<String, String>)]
pub struct Labels(BTreeMap<String, String>);

/// A change of labels: a value sets one, `null` removes it.
pub type LabelEdit = BTreeMap<String, Option<String>>;

fn bad(what: String) -> Problem {
    Problem::new(Code::InvalidRequest, what).hint(
        "a label is KEY=VALUE: the key has 1 to 63 of a-z, 0-9, '.', '_' and '-' and begins with a letter or \
         digit; the value has at most 63 of these and A-Z",
    )
}

fn key(text: &str) -> Result<(), Problem> {
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    match begins && text.chars().all(plain) && text.len() <= LONGEST {
        true => Ok(()),
        false => Err(bad(format!("\"{}\" cannot be the key of a label", shown(text)))),
    }
}

fn value(text: &str) -> Result<(), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match text.chars().all(plain) && text.len() <= LONGEST {
        true => Ok(()),
        false => Err(bad(format!("\"{}\" cannot be the value of a label", shown(text)))),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect::<String>().escape_debug().to_string()
}

impl Labels {
    /// Reads `KEY=VALUE` each.
    ///
    /// # Errors
    /// `invalid-request`.
    pub fn parse<S: AsRef<str>>(all: &[S]) -> Result<Self, Problem> {
        let mut labels = Self::default();
        for text in all {
            let text = text.as_ref();
            let (key, value) =
                text.split_once('=').ok_or_else(|| bad(format!("\"{}\" is no label", shown(text))))?;
            // The last would win, and nobody would see that the other was meant as well.
            if labels.0.get(key).is_some_and(|before| before != value) {
                return Err(bad(format!("label \"{}\" is named twice", shown(key))));
            }
            labels.edit(&[(key.to_owned(), Some(value.to_owned()))].into())?;
        }
        Ok(labels)
    }

    /// Sets and removes.
    ///
    /// # Errors
    /// `invalid-request`; then nothing has changed.
    pub fn edit(&mut self, edit: &LabelEdit) -> Result<(), Problem> {
        let mut new = self.0.clone();
        for (k, v) in edit {
            key(k)?;
            match v {
                Some(v) => {
                    value(v)?;
                    new.insert(k.clone(), v.clone());
                }
                None => {
                    new.remove(k);
                }
            }
        }
        if new.len() > MOST {
            return Err(bad(format!("{} labels are too many: the most is {MOST}", new.len())));
        }
        self.0 = new;
        Ok(())
    }

    /// As a query has them: `env=prod,tier=web`.
    pub fn in_query(&self) -> String {
        let all: Vec<String> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        all.join(",")
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all of `wanted` are among them.
    pub fn have(&self, wanted: &Self) -> bool {
        wanted.0.iter().all(|(k, v)| self.0.get(k) == Some(v))
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<String> = self.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
        f.pad(&all.join(", "))
    }
}

/// Reads a change as people type it: `env=prod` sets, `env-` removes.
///
/// # Errors
/// `invalid-request`.
pub fn parse_edit<S: AsRef<str>>(all: &[S]) -> Result<LabelEdit, Problem> {
    let mut edit = LabelEdit::new();
    for text in all {
        let text = text.as_ref();
        let (k, v) = match (text.split_once('='), text.strip_suffix('-')) {
            (Some((k, v)), _) => (k, Some(v.to_owned())),
            (None, Some(k)) => (k, None),
            (None, None) => return Err(bad(format!("\"{}\" is no label", shown(text)))),
        };
        if edit.insert(k.to_owned(), v).is_some() {
            return Err(bad(format!("label \"{}\" is named twice", shown(k))));
        }
    }
    Labels::default().edit(&edit)?;
    Ok(edit)
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = Problem;
    fn try_from(all: BTreeMap<String, String>) -> Result<Self, Problem> {
        let mut labels = Self::default();
        labels.edit(&all.into_iter().map(|(k, v)| (k, Some(v))).collect())?;
        Ok(labels)
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

/// Asks for a change of what a volume or machine is called and marked with; what is left out stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// What it is called from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<crate::Name>,
    /// Whether it can be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Labels to set, by key; `null` removes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: LabelEdit,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_bounded_and_plain() {
        let labels = Labels::parse(&["env=prod", "tier=", "a.b_c-d=X.1"]).unwrap();
        assert_eq!(labels.to_string(), "a.b_c-d=X.1, env=prod, tier=");
        assert!(Labels::parse(&["env=prod", "env=dev"]).unwrap_err().message.contains("named twice"));
        let long = format!("{}=x", "a".repeat(64));
        for bad in ["env", "=x", "-a=x", "Env=x", "a b=x", "a=x y", "a=x=y", "a=ü", "a/b=x", &long] {
            assert_eq!(Labels::parse(&[bad]).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
        let many: Vec<String> = (0..=MOST).map(|n| format!("k{n}=v")).collect();
        assert!(Labels::parse(&many[..MOST]).is_ok() && Labels::parse(&many).is_err());
        assert!(labels.have(&Labels::parse(&["env=prod"]).unwrap()));
        assert!(!labels.have(&Labels::parse(&["env=test"]).unwrap()));
    }

    #[test]
    fn edits_set_and_remove() {
        let mut labels = Labels::parse(&["env=test", "tier=web"]).unwrap();
        labels.edit(&parse_edit(&["env=prod", "tier-", "gone-"]).unwrap()).unwrap();
        assert_eq!(labels.to_string(), "env=prod");
        assert!(parse_edit(&["env=a", "env-"]).is_err() && parse_edit(&["env"]).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = (Labels::parse(&[&text]), parse_edit(&[&text]));
        }
    }
}
