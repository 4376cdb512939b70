//! Passwords: argon2id, with the parameters that OWASP and the crate agree on (19 MiB, 2 passes).
//!
//! Invariant: a check costs the same whether or not there is such a user, and few run at once, so
//! that logins cannot use up the host's memory.

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;
use types::access::Secret;
use types::{Code, Problem};

/// How many run at once: 19 MiB each.
const AT_ONCE: usize = 2;

/// Hashes and checks passwords.
pub struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    /// What to keep of a password.
    pub async fn keep(&self, password: Secret) -> Result<String, Problem> {
        self.slowly(move || made(&password)).await?
    }

    /// Whether `password` is the one of which `kept` was made; `None` is nobody's and costs as much.
    pub async fn is(&self, password: Secret, kept: Option<String>) -> Result<bool, Problem> {
        self.slowly(move || {
            let nobody = kept.is_none();
            let kept = kept.unwrap_or_else(|| nobodys().to_owned());
            let parsed = PasswordHash::new(&kept);
            let fits = parsed
                .is_ok_and(|p| Argon2::default().verify_password(password.expose().as_bytes(), &p).is_ok());
            fits && !nobody
        })
        .await
    }

    async fn slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let failed = |_| Problem::new(Code::Internal, "a password could not be hashed");
        let turn = Arc::clone(&self.0).acquire_owned().await.map_err(|_| failed(()))?;
        // The work goes on when whoever asked is gone, and the turn with it.
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| failed(()))
    }
}

fn made(password: &Secret) -> Result<String, Problem> {
    let failed = || Problem::new(Code::Internal, "a password could not be hashed");
    let mut salt = [0; 16];
    OsRng.try_fill_bytes(&mut salt).map_err(|_| failed())?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| failed())?;
    let hash = Argon2::default().hash_password(password.expose().as_bytes(), &salt).map_err(|_| failed())?;
    Ok(hash.to_string())
}

/// A hash with today's parameters that nobody's password has.
fn nobodys() -> &'static str {
    static NOBODY: OnceLock<String> = OnceLock::new();
    NOBODY.get_or_init(|| made(&Secret::new("nobody")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn knows_its_own() {
        let passwords = Passwords::default();
        let kept = passwords.keep(Secret::new("correct horse")).await.unwrap();
        assert!(kept.starts_with("$argon2id$") && !kept.contains("horse"), "{kept}");
        let is = |text: &str, kept| passwords.is(Secret::new(text), kept);
        assert!(is("correct horse", Some(kept.clone())).await.unwrap());
        assert!(!is("correct hors", Some(kept)).await.unwrap());
        assert!(!is("nobody", None).await.unwrap());
        assert!(!is("x", Some("broken".into())).await.unwrap());
    }
}
