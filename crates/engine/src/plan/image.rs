//! What an image needs next.
//!
//! Invariant: an image is made once; its content never changes.

use super::Answer;
use crate::port::ImageObs;
use types::image::{ImageSpec, ImageStatus};

/// A step towards what is wanted of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Build or copy it.
    Build,
    /// Remove its content and then its record.
    Forget,
}

/// Answers for an image. A build that failed is tried again only once somebody asks again, which
/// makes a new generation: a mirror that is down would otherwise be asked for ever.
pub fn plan(spec: &ImageSpec, status: &ImageStatus, seen: Option<&ImageObs>) -> Answer<Step> {
    if spec.deleting.is_some() {
        return Answer::Do(Step::Forget);
    }
    match (seen, &status.fault) {
        (Some(_), _) => Answer::Settled,
        (None, Some(fault)) if status.observed_generation >= spec.generation => Answer::Stuck(fault.clone()),
        (None, _) => Answer::Do(Step::Build),
    }
}
