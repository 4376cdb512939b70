//! Requests about images, and what an image reference means.

use super::{Draft, made_up};
use crate::db::{ImageRecord, Rev};
use crate::{Engine, key};
use types::image::{ImageSource, ImageSpec, PullImage};
use types::operation::Kind;
use types::volume::{VolumeSource, VolumeSpec};
use types::{Actor, ByteSize, Code, ImageId, Name, Operation, Problem, Verb};

/// An image that a request refers to.
pub(super) struct Resolved {
    /// Its id.
    pub id: ImageId,
    /// Its name.
    pub name: Name,
    /// Its spec's generation, after this request.
    pub generation: u64,
    /// Its size, as far as it is known by now.
    pub size: Option<ByteSize>,
}

impl Engine {
    /// Accepts to make an image ready.
    ///
    /// # Errors
    /// `image-not-found`, `image-invalid`, `not-yet`.
    pub fn pull_image(&self, actor: &Actor, req: PullImage) -> Result<Operation, Problem> {
        self.admit(actor, Verb::ImagePull, (Kind::Image, &req.image), |draft| {
            let image = self.resolve_image(draft, &req.image)?;
            draft.about(Kind::Image, image.id.0, image.name.as_str(), image.generation);
            draft.operation.warnings.extend(self.room_warnings(super::DEFAULT_POOL));
            Ok(())
        })
    }

    /// Accepts the end of an image. Volumes made from it are whole by themselves and stay.
    ///
    /// # Errors
    /// `image-not-found`, `image-in-use` while a volume is being filled from it.
    pub fn delete_image(&self, actor: &Actor, image: &str) -> Result<Operation, Problem> {
        self.admit(actor, Verb::ImageDelete, (Kind::Image, image), |draft| {
            let record = self.0.db.find::<ImageSpec>(image)?;
            let id = record.spec.id;
            let filling = self.0.db.records::<VolumeSpec>()?.into_iter().find(|v| {
                v.spec.source == VolumeSource::Image { image: id }
                    && !v.status.filled
                    && v.spec.deleting.is_none()
            });
            if let Some(v) = filling {
                return Err(Problem::new(
                    Code::ImageInUse,
                    format!("volume \"{}\" is being filled from image \"{}\"", v.spec.name, record.spec.name),
                )
                .hint("wait until it is filled"));
            }
            let mut new = record.spec.value.clone();
            if new.deleting.is_none() {
                new.deleting = Some(draft.operation.id);
                new.generation += 1;
                draft.change.delete(key::name(Kind::Image, new.name.as_str()));
                draft.change.delete(key::image_source(&new.stamp));
            }
            draft.change.update(&record.spec, &new);
            draft.about(Kind::Image, id.0, new.name.as_str(), new.generation);
            Ok(())
        })
    }

    /// What `reference` means: a URL, a path, a local image, a recipe, else a registry's reference.
    pub(super) fn resolve_image(&self, draft: &mut Draft, reference: &str) -> Result<Resolved, Problem> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || !c.is_ascii();
        if !reference.starts_with('/') && reference.contains(odd) {
            return Err(Problem::new(
                Code::InvalidRequest,
                format!(
                    "\"{}\" names no image",
                    reference.chars().take(100).collect::<String>().escape_debug()
                ),
            )
            .hint("give a path, the name of an image, or a recipe such as debian"));
        }
        if reference.contains("://") {
            return Err(Problem::new(Code::NotYet, "images cannot be fetched from a URL yet")
                .hint("download it and give its path"));
        }
        if reference.starts_with('/') {
            let (size, stamp) = self.0.ports.images.probe(reference)?;
            let stem = std::path::Path::new(reference).file_stem().and_then(|s| s.to_str()).unwrap_or("");
            let name = name_like(stem);
            let source = ImageSource::Path(reference.to_owned());
            let mut image = self.image_from(draft, source, &format!("path/{stamp}"), &name)?;
            image.size = image.size.or(Some(size));
            return Ok(image);
        }
        match self.0.db.find::<ImageSpec>(reference) {
            Ok(record) => return self.use_image(draft, record),
            Err(p) if matches!(p.code, Code::ImageNotFound | Code::InvalidName) => {}
            Err(p) => return Err(p),
        }
        let recipes = self.0.ports.images.recipes();
        if recipes.iter().any(|r| r == reference) {
            let source = ImageSource::Recipe(reference.to_owned());
            return self.image_from(draft, source, &format!("recipe/{reference}"), reference);
        }
        if reference.contains(['/', ':', '@']) && !reference.starts_with('.') {
            return Err(Problem::new(Code::NotYet, "images cannot be pulled from a registry yet")
                .hint(format!("what can be built here: {}", recipes.join(", "))));
        }
        Err(Problem::new(Code::ImageNotFound, format!("there is no image \"{}\"", reference.escape_debug()))
            .hint(format!("give one of `sistemo image list`, a path, or a recipe: {}", recipes.join(", "))))
    }

    fn image_from(
        &self,
        draft: &mut Draft,
        source: ImageSource,
        stamp: &str,
        wish: &str,
    ) -> Result<Resolved, Problem> {
        let claim = key::image_source(stamp);
        if let Some(id) = self.0.db.get::<ImageId>(&claim)? {
            if let Some(record) = self.0.db.record::<ImageSpec>(id.value.0)? {
                draft.change.on(&id);
                return self.use_image(draft, record);
            }
        }
        let id = ImageId(self.0.ports.clock.new_id());
        let free = |n: &str| Ok::<_, Problem>(self.0.db.0.get(&key::name(Kind::Image, n))?.is_none());
        let name = if free(wish)? { wish.to_owned() } else { made_up(wish, id.0) };
        let spec = ImageSpec {
            id,
            name: Name::new(&name)?,
            generation: 1,
            node: self.settings().node.clone(),
            created_at: self.0.ports.clock.now(),
            source,
            stamp: stamp.to_owned(),
            deleting: None,
        };
        draft.change.claim(claim, &id);
        draft.change.claim(key::name(Kind::Image, &name), &id);
        draft.change.claim(key::spec(Kind::Image, id.0), &spec);
        draft.touch(Kind::Image, id.0, &name);
        Ok(Resolved { id, name: spec.name, generation: 1, size: None })
    }

    /// An image that is there; one that failed is tried again, which makes a new generation.
    fn use_image(&self, draft: &mut Draft, record: ImageRecord) -> Result<Resolved, Problem> {
        let spec: &Rev<ImageSpec> = &record.spec;
        if spec.deleting.is_some() {
            return Err(Problem::new(Code::Deleting, format!("image \"{}\" is being deleted", spec.name))
                .hint("ask again when it is gone: `sistemo image list` shows what there is"));
        }
        let mut new = spec.value.clone();
        if record.status.fault.is_some() {
            new.generation += 1;
            draft.change.update(spec, &new);
        } else {
            draft.change.on(spec);
        }
        draft.touch(Kind::Image, new.id.0, new.name.as_str());
        let size = record.status.digest.is_some().then_some(record.status.size);
        Ok(Resolved { id: new.id, name: new.name, generation: new.generation, size })
    }
}

/// The nearest name to some text; `image` if nothing of it can be kept.
fn name_like(text: &str) -> String {
    let mut out: String = text
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(50)
        .collect();
    out = out.trim_matches('-').to_owned();
    match Name::new(&out) {
        Ok(_) => out,
        Err(_) => "image".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_file_names() {
        for (stem, name) in
            [("My Disk", "my-disk"), ("debian-12.raw", "debian-12-raw"), ("", "image"), ("ü", "image")]
        {
            assert_eq!(name_like(stem), name);
        }
    }
}
