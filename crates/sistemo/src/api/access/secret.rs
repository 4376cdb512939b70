//! Secrets: made from the kernel's randomness, kept as hashes.
//!
//! Invariant: what is compared with a secret is compared in constant time, and only its hash is
//! ever stored. 256 random bits need no slow hash: nobody guesses them.

use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use types::access::Secret;
use types::{Code, Problem};

/// What every token begins with, so that scanners for leaked secrets find it.
const MARK: &str = "sis";
/// Hexadecimal digits of the part by which a token is looked up.
const PREFIX: usize = 12;
/// Hexadecimal digits of 256 bits.
const SECRET: usize = 64;

/// So many random bytes, in hexadecimal.
pub fn random(bytes: usize) -> Result<String, Problem> {
    let mut drawn = vec![0; bytes];
    OsRng
        .try_fill_bytes(&mut drawn)
        .map_err(|e| Problem::new(Code::Internal, format!("the host gives no random numbers: {e}")))?;
    Ok(hex(&drawn))
}

/// The hash under which a secret is kept, in hexadecimal.
pub fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Whether `text` has this hash.
pub fn matches(text: &str, kept: &str) -> bool {
    hash(text).as_bytes().ct_eq(kept.as_bytes()).into()
}

/// A new token and the part by which it is looked up.
pub fn token() -> Result<(Secret, String), Problem> {
    let prefix = random(PREFIX / 2)?;
    let secret = random(SECRET / 2)?;
    Ok((Secret::new(format!("{MARK}_{prefix}_{secret}")), prefix))
}

/// The part of a token by which it is looked up, if it has a token's shape.
pub fn prefix(token: &str) -> Option<&str> {
    let (prefix, secret) = token.strip_prefix(MARK)?.strip_prefix('_')?.split_once('_')?;
    let digits = |s: &str| s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let fits = prefix.len() == PREFIX && secret.len() == SECRET && digits(prefix) && digits(secret);
    fits.then_some(prefix)
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_prefix_and_known_by_its_hash() {
        let (token, prefix_of) = token().unwrap();
        assert_eq!(prefix(token.expose()), Some(prefix_of.as_str()));
        let kept = hash(token.expose());
        assert!(matches(token.expose(), &kept));
        assert!(!kept.contains(&token.expose()[20..40]));
        let (other, _) = super::token().unwrap();
        assert!(!matches(other.expose(), &kept) && !matches("", &kept) && !matches(token.expose(), ""));
    }

    #[test]
    fn other_shapes_are_no_tokens() {
        let good = format!("sis_{}_{}", "0".repeat(12), "0".repeat(64));
        assert!(prefix(&good).is_some());
        for bad in
            ["", "sis", "sis__", "sis_0_0", &good[1..], &good[..good.len() - 1], &good.replace('0', "G")]
        {
            assert_eq!(prefix(bad), None, "{bad}");
        }
        assert_eq!(prefix(&good.replacen('0', "/", 1)), None);
    }
}
