//! `sistemo machine deploy [IMAGE] …`.

use super::change::sentence;
use crate::cli::context::Context;
use crate::cli::wait::wait;
use crate::cli::{Ended, input, not_yet, render};
use clap::Args;
use types::label::Labels;
use types::machine::{DeployMachine, Machine, RestartPolicy};
use types::{Code, Name, Operation, Problem};

/// What to deploy.
#[derive(Args)]
pub struct Deploy {
    /// What the root volume starts as: a recipe such as debian, a local image, or a path
    image: Option<String>,
    /// Its name [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Virtual processors [default: 2]
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// Memory [default: 512M]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    memory: Option<String>,
    /// Size of the root volume [default: 2GB]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    storage: Option<String>,
    /// The pool of the root volume that is made [default: default, or that of the snapshot]
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Attach a data volume, mounted at /mnt/VOL or at PATH; with :none nowhere, with :ro only to be read; can be repeated
    #[arg(long, value_name = "VOL[:PATH[:ro]]")]
    attach: Vec<String>,
    /// Boot from this root volume, or from a copy of this snapshot of one, instead of an image
    #[arg(long, value_name = "ROOTVOL", conflicts_with = "image")]
    volume: Option<String>,
    /// The network [default: default]
    #[arg(long, value_name = "NET")]
    network: Option<String>,
    /// Whether it comes back when its hypervisor died: no or on-failure [default: no]
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// A label; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    #[arg(long, hide = true, value_name = "[HOST:]GUEST")]
    expose: Vec<String>,
}

impl Deploy {
    /// Deploys it and waits for the guest's agent.
    pub async fn run(self, context: &Context) -> Ended {
        let asked = self.request()?;
        let client = context.client()?;
        let accepted: Operation = client.post(&["machines"], &asked).await?;
        let ended = wait(context, &client, accepted).await?;
        let id = ended.target.id.map_or(ended.target.name, |id| id.to_string());
        let machine: Machine = client.get(&["machines", &id]).await?;
        render::done(context, &machine, sentence)
    }

    fn request(self) -> Result<DeployMachine, Problem> {
        if !self.expose.is_empty() {
            return Err(not_yet::problem("`--expose`"));
        }
        if self.image.is_none() && self.volume.is_none() {
            return Err(Problem::new(Code::Usage, "it is not said what to deploy").hint(
                "name an image, such as `sistemo machine deploy debian`, or a root volume with --volume",
            ));
        }
        let size = |text: Option<String>| text.as_deref().map(input::size).transpose();
        Ok(DeployMachine {
            image: self.image.as_deref().map(input::image).transpose()?,
            name: self.name.as_deref().map(Name::machine).transpose()?,
            vcpus: self.vcpus,
            memory_bytes: size(self.memory)?,
            storage_bytes: size(self.storage)?,
            pool: self.pool.as_deref().map(input::reference).transpose()?.map(str::to_owned),
            attach: self.attach.iter().map(|a| input::attach(a)).collect::<Result<_, _>>()?,
            volume: match self.volume {
                Some(volume) => Some(input::reference(&volume)?.to_owned()),
                None => None,
            },
            labels: Labels::parse(&self.label)?,
            restart: self.restart.as_deref().map(restart).transpose()?,
            network: match self.network {
                Some(network) => Some(input::reference(&network)?.to_owned()),
                None => None,
            },
        })
    }
}

fn restart(policy: &str) -> Result<RestartPolicy, Problem> {
    [RestartPolicy::No, RestartPolicy::OnFailure].into_iter().find(|p| p.to_string() == policy).ok_or_else(
        || {
            Problem::new(Code::Usage, format!("\"{}\" is no restart policy", policy.escape_debug()))
                .hint("give --restart no, or --restart on-failure")
        },
    )
}
