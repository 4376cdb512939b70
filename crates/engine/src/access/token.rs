//! Tokens.

use super::taken;
use crate::store::Limit;
use crate::{Engine, key};
use serde::{Deserialize, Serialize};
use types::access::{CreateToken, MAX_TOKEN_LIFE, Token};
use types::operation::Kind;
use types::{Actor, Code, Name, Problem, TokenId, Verb};

/// What is kept of a token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// What may be shown.
    pub about: Token,
    /// The hash of the whole token, in hexadecimal.
    pub hash: String,
}

impl Engine {
    /// Keeps a new token, of which the caller knows the secret and gives the hash.
    ///
    /// # Errors
    /// `invalid-request`, `name-taken`, `database-failed`.
    pub fn create_token(
        &self,
        actor: &Actor,
        asked: &CreateToken,
        prefix: &str,
        hash: &str,
    ) -> Result<Token, Problem> {
        let id = TokenId(self.0.ports.clock.new_id());
        let name = match &asked.name {
            Some(name) => name.clone(),
            None => Name::new(&crate::admit::made_up("token", id.0))?,
        };
        let now = self.0.ports.clock.now();
        self.settle(actor, Verb::TokenCreate, (Kind::Token, name.as_str()), |change| {
            let expires_at = match asked.expires_in_seconds {
                None => None,
                Some(s) if (1..=MAX_TOKEN_LIFE).contains(&s) => {
                    Some(crate::plan::machine::after(now, std::time::Duration::from_secs(s)))
                }
                Some(s) => {
                    return Err(Problem::new(
                        Code::InvalidRequest,
                        format!("a token cannot expire after {s} seconds"),
                    )
                    .hint("its life is one second to ten years; leave it out for a token without an end"));
                }
            };
            if self.0.db.0.get(&key::name(Kind::Token, name.as_str()))?.is_some() {
                return Err(taken(Kind::Token, name.as_str()));
            }
            let about = Token { id, name: name.clone(), role: asked.role, created_at: now, expires_at };
            change.claim(key::name(Kind::Token, name.as_str()), &prefix);
            change.claim(key::token(prefix), &TokenRecord { about: about.clone(), hash: hash.to_owned() });
            Ok((Some(id.0), about))
        })
    }

    /// All tokens, by name, expired ones too.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn tokens(&self) -> Result<Vec<Token>, Problem> {
        let mut all: Vec<Token> = self
            .0
            .db
            .scan::<TokenRecord>(key::TOKENS, Limit::All)?
            .into_iter()
            .map(|r| r.value.about)
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The token with this prefix, if there is one, expired or not.
    ///
    /// # Errors
    /// `database-failed`.
    pub fn token(&self, prefix: &str) -> Result<Option<TokenRecord>, Problem> {
        Ok(self.0.db.get::<TokenRecord>(&key::token(prefix))?.map(|r| r.value))
    }

    /// Ends a token, found by id or name.
    ///
    /// # Errors
    /// `token-not-found`, `database-failed`.
    pub fn revoke_token(&self, actor: &Actor, token: &str) -> Result<Token, Problem> {
        self.settle(actor, Verb::TokenRevoke, (Kind::Token, token), |change| {
            let found = self.0.db.scan::<TokenRecord>(key::TOKENS, Limit::All)?.into_iter().find(|r| {
                r.about.name.as_str() == token || token.parse::<TokenId>().is_ok_and(|id| id == r.about.id)
            });
            let found = found.ok_or_else(|| {
                Problem::new(Code::TokenNotFound, format!("there is no token \"{}\"", token.escape_debug()))
                    .hint("`sistemo token list` shows what there is")
            })?;
            change.on(&found).delete(found.key.clone());
            change.delete(key::name(Kind::Token, found.about.name.as_str()));
            Ok((Some(found.about.id.0), found.about.clone()))
        })
    }
}
