//! The fingerprint of a certificate: what a person compares and a client is told to expect.

use sha2::{Digest, Sha256};

/// `sha256:` and 64 hexadecimal digits of a certificate in DER.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = Sha256::digest(der);
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// The same fingerprint in any of its usual spellings, if it is one.
pub fn normal(text: &str) -> Option<String> {
    let digits = text.trim();
    let digits = digits.strip_prefix("sha256:").or_else(|| digits.strip_prefix("SHA256:")).unwrap_or(digits);
    let hex: String = digits.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| format!("sha256:{hex}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let own = fingerprint(b"x");
        assert_eq!(normal(&own).as_deref(), Some(own.as_str()));
        let pairs: Vec<String> =
            own.as_bytes()[7..].chunks(2).map(|p| String::from_utf8_lossy(p).to_uppercase()).collect();
        assert_eq!(normal(&pairs.join(":")).as_deref(), Some(own.as_str()));
        assert_eq!(normal("sha256:00"), None);
        assert_eq!(normal(&"g".repeat(64)), None);
    }
}
