//! Images: looking and doing.

use super::close::Ending;
use super::{Broken, Next};
use crate::Engine;
use crate::db::{Change, ImageRecord};
use crate::plan::Answer;
use crate::plan::image::{Step, plan};
use crate::port::ImageObs;
use types::image::{ImageSpec, ImageStatus};
use types::operation::{Kind, Progress};
use types::{ImageId, Problem};

impl Engine {
    pub(super) fn look_at_image(&self, id: ImageId) -> Result<Next, Broken> {
        let Some(record) = self.0.db.record::<ImageSpec>(id.0)? else {
            self.0.queue.settled((Kind::Image, id.0));
            return Ok(Next::Idle);
        };
        let images = &self.0.ports.images;
        let seen = images.observe(id)?;
        match plan(&record.spec, &record.status, seen.as_ref()) {
            Answer::Do(Step::Build) => {
                let tell = |p: Progress| self.0.live.progress(Kind::Image, id.0, &p);
                images.build(id, &record.spec.source, &tell)?;
                Ok(Next::Again)
            }
            Answer::Do(Step::Forget) => {
                images.remove(id)?;
                let mut change = Change::system();
                change.on(&record.spec).delete(record.spec.key.clone()).delete(record.status.key.clone());
                self.commit_and_close(change, Kind::Image, id.0, |_| Some(Ending::well()))?;
                self.0.queue.settled((Kind::Image, id.0));
                Ok(Next::Idle)
            }
            Answer::Settled => {
                let seen = seen.unwrap_or(ImageObs { digest: String::new(), size: Default::default() });
                let status = ImageStatus {
                    observed_generation: record.spec.generation,
                    digest: Some(seen.digest),
                    size: seen.size,
                    fault: None,
                };
                self.conclude_image(&record, status)?;
                Ok(Next::Idle)
            }
            Answer::Stuck(problem) => {
                self.conclude_image(
                    &record,
                    ImageStatus { fault: Some(problem), ..record.status.value.clone() },
                )?;
                Ok(Next::Idle)
            }
            Answer::Wait(wait) => Ok(self.wait((Kind::Image, id.0), &wait)),
        }
    }

    fn conclude_image(&self, record: &ImageRecord, status: ImageStatus) -> Result<(), Broken> {
        let mut change = Change::system();
        if status != record.status.value {
            change.update(&record.status, &status).on(&record.spec);
        }
        let generation = record.spec.generation;
        self.commit_and_close(change, Kind::Image, record.spec.id.0, |op| {
            (op.generation <= generation).then(|| match &status.fault {
                Some(problem) => Ending::failed(problem.clone()),
                None => Ending::well(),
            })
        })?;
        self.0.queue.settled((Kind::Image, record.spec.id.0));
        Ok(())
    }

    /// The image stays on record as failed, so that whoever waits for it learns why; asking again
    /// tries again.
    pub(super) fn give_up_image(&self, id: ImageId, problem: &Problem) -> Result<bool, Broken> {
        let Some(record) = self.0.db.record::<ImageSpec>(id.0)? else { return Ok(false) };
        if record.spec.deleting.is_some() {
            let generation = record.spec.generation;
            self.commit_and_close(Change::system(), Kind::Image, id.0, |op| {
                (op.generation <= generation).then(|| Ending::failed(problem.clone()))
            })?;
            return Ok(false);
        }
        let status = ImageStatus {
            observed_generation: record.spec.generation,
            fault: Some(problem.clone()),
            ..record.status.value.clone()
        };
        self.conclude_image(&record, status)?;
        Ok(true)
    }

    /// What a volume needs to know of its image.
    pub(super) fn image_look(&self, id: ImageId) -> Result<crate::plan::volume::ImageLook, Problem> {
        use crate::plan::volume::ImageLook;
        let Some(record) = self.0.db.record::<ImageSpec>(id.0)? else { return Ok(ImageLook::Missing) };
        let (spec, status) = (&record.spec, &record.status);
        Ok(match (&status.fault, &status.digest) {
            _ if spec.deleting.is_some() => ImageLook::Missing,
            (Some(p), _) if status.observed_generation >= spec.generation => ImageLook::Failed(p.clone()),
            (None, Some(_)) => ImageLook::Ready(status.size),
            _ => ImageLook::Coming,
        })
    }
}
