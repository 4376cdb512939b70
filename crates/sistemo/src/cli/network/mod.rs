//! `sistemo network`: lists and shows; making and deleting come later.

use super::context::Context;
use super::not_yet::NotYet;
use super::{Ended, input, render};
use clap::{Args, Subcommand};
use types::network;

/// The verbs.
#[derive(Subcommand)]
pub enum Network {
    /// List the networks
    #[command(visible_alias = "ls")]
    List,
    /// Show a network
    #[command(visible_alias = "status")]
    Show(Show),
    #[command(hide = true)]
    Create(NotYet),
    #[command(hide = true, alias = "rm")]
    Delete(NotYet),
}

/// Which.
#[derive(Args)]
pub struct Show {
    /// Name or id
    network: String,
}

impl Network {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::List => {
                let header = ["NAME", "SUBNET", "GATEWAY", "BRIDGE", "MACHINES"];
                render::list::<network::Network, network::Network, _>(context, &["networks"], "", header, row)
                    .await
            }
            Self::Show(Show { network }) => {
                let path = ["networks", input::reference(&network)?];
                let found: network::Network = context.client()?.get(&path).await?;
                render::one(context.format(), &found, text)
            }
            Self::Create(verb) => verb.run("network create"),
            Self::Delete(verb) => verb.run("network delete"),
        }
    }
}

fn row(n: network::Network) -> [String; 5] {
    [n.name.to_string(), n.subnet.clone(), n.gateway.to_string(), n.bridge.clone(), n.machines.to_string()]
}

fn text(n: &network::Network) -> String {
    render::fields(&[
        ("Name", n.name.to_string()),
        ("Id", n.id.to_string()),
        ("Subnet", n.subnet.clone()),
        ("Gateway", n.gateway.to_string()),
        ("Bridge", n.bridge.clone()),
        ("Machines", n.machines.to_string()),
        ("Created", render::time(n.created_at)),
    ])
}
