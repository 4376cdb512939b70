//! `sistemo token create|list|revoke`.
//!
//! Invariant: a token is printed once, on standard output, and by nothing but `create`.

use super::confirm::confirm;
use super::context::Context;
use super::{Ended, input, render};
use clap::{Args, Subcommand};
use types::access::{self, CreateToken, CreatedToken};
use types::{Name, Role};

/// The verbs.
#[derive(Subcommand)]
pub enum Token {
    /// Make a token and print it, this once
    Create(Create),
    /// List the tokens
    #[command(visible_alias = "ls")]
    List,
    /// End a token
    #[command(visible_alias = "rm")]
    Revoke(Revoke),
}

/// What it may do.
#[derive(Args)]
pub struct Create {
    /// viewer reads, operator also changes machines and volumes, admin may do everything, pools included
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Its name, which history carries [default: made up]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// When it stops being good, such as 30d [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

/// Which.
#[derive(Args)]
pub struct Revoke {
    /// Name or id
    token: String,
}

impl Token {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::Create(create) => create.run(context).await,
            Self::List => {
                let header = ["NAME", "ROLE", "CREATED", "EXPIRES"];
                render::list::<access::Token, access::Token, _>(context, &["tokens"], "", header, row).await
            }
            Self::Revoke(revoke) => {
                let token = input::reference(&revoke.token)?;
                confirm(context, &format!("Revoke token \"{token}\""), &[])?;
                let gone: access::Token = context.client()?.delete(&["tokens", token], "").await?;
                render::done(context, &gone, |t| format!("token \"{}\" is revoked\n", t.name))
            }
        }
    }
}

impl Create {
    async fn run(self, context: &Context) -> Ended {
        let asked = CreateToken {
            role: self.role.parse::<Role>()?,
            name: self.name.as_deref().map(Name::new).transpose()?,
            expires_in_seconds: self.expires.as_deref().map(input::span).transpose()?.map(|d| d.as_secs()),
        };
        let made: CreatedToken = context.client()?.post(&["tokens"], &asked).await?;
        if context.format() == render::Format::Text {
            let (name, role) = (&made.about.name, made.about.role);
            context.remark(&format!("token \"{name}\" has the role {role}; it is shown only now:"));
        }
        render::one(context.format(), &made, |m| format!("{}\n", m.token.expose()))
    }
}

fn row(t: access::Token) -> [String; 4] {
    [
        t.name.to_string(),
        t.role.to_string(),
        render::time(t.created_at),
        t.expires_at.map_or_else(|| "never".into(), render::time),
    ]
}
