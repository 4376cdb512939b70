//! Images: content that is made once and used many times.

pub mod probe;
pub mod record;
