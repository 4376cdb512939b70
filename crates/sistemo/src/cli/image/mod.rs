//! `sistemo image`: what root volumes start as.

use super::confirm::confirm;
use super::context::Context;
use super::wait::wait;
use super::{Ended, input, render};
use clap::{Args, Subcommand};
use types::ByteSize;
use types::image::{self, ImageSource, PullImage};

/// The verbs.
#[derive(Subcommand)]
pub enum Image {
    /// List the images
    #[command(visible_alias = "ls")]
    List,
    /// Take in an image: a file on the daemon's host, or a recipe
    Pull(Make),
    /// Build an image from a recipe such as debian
    Build(Make),
    /// Show an image
    #[command(visible_alias = "status")]
    Show(Which),
    /// Delete an image; volumes that started from it are whole and stay
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

/// From what.
#[derive(Args)]
pub struct Make {
    /// A recipe such as debian, or a path
    image: String,
}

/// Which.
#[derive(Args)]
pub struct Which {
    /// Name or id
    image: String,
}

/// Which.
#[derive(Args)]
pub struct Delete {
    /// Name or id
    image: String,
}

impl Image {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::List => {
                let header = ["NAME", "STATUS", "SIZE", "VOLUMES", "SOURCE"];
                render::list::<image::Image, image::Image, _>(context, &["images"], "", header, row).await
            }
            Self::Pull(make) | Self::Build(make) => make.run(context).await,
            Self::Show(which) => {
                let path = ["images", input::reference(&which.image)?];
                let found: image::Image = context.client()?.get(&path).await?;
                render::one(context.format(), &found, text)
            }
            Self::Delete(delete) => delete.run(context).await,
        }
    }
}

impl Make {
    async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let asked = PullImage { image: input::image(&self.image)? };
        let ended = wait(context, &client, client.post(&["images"], &asked).await?).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let made: image::Image = client.get(&["images", &id]).await?;
        render::done(context, &made, |i| {
            let size = ByteSize(i.size_bytes.unwrap_or(0));
            format!("image \"{}\" of {size} is ready\n", i.name)
        })
    }
}

impl Delete {
    async fn run(self, context: &Context) -> Ended {
        let client = context.client()?;
        let image = input::reference(&self.image)?;
        let found: image::Image = client.get(&["images", image]).await?;
        confirm(context, &format!("Delete image \"{}\"", found.name), &[])?;
        let operation = client.delete(&["images", &found.id.to_string()], "").await?;
        let ended = wait(context, &client, operation).await?;
        render::done(context, &ended, |_| format!("image \"{}\" is deleted\n", found.name))
    }
}

fn source(source: &ImageSource) -> String {
    match source {
        ImageSource::Recipe(name) => format!("recipe {name}"),
        ImageSource::Path(path) => path.clone(),
    }
}

fn row(i: image::Image) -> [String; 5] {
    [
        i.name.to_string(),
        i.status,
        render::or_dash(i.size_bytes.map(ByteSize)),
        i.volumes.to_string(),
        source(&i.source),
    ]
}

fn text(i: &image::Image) -> String {
    let fault = i.fault.as_ref().map(|f| format!("{}: {}", f.code, f.message));
    render::fields(&[
        ("Name", i.name.to_string()),
        ("Id", i.id.to_string()),
        ("Status", i.status.clone()),
        ("Size", render::or_dash(i.size_bytes.map(ByteSize))),
        ("Digest", i.digest.clone().unwrap_or_default()),
        ("Source", source(&i.source)),
        ("Volumes", i.volumes.to_string()),
        ("Created", render::time(i.created_at)),
        ("Fault", fault.unwrap_or_default()),
    ])
}
