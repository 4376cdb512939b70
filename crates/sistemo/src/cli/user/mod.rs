//! `sistemo user create|list|passwd|delete`.

mod password;

use super::confirm::confirm;
use super::context::Context;
use super::{Ended, input, render};
use clap::{Args, Subcommand};
use types::access::{self, ChangePassword, CreateUser};
use types::{Name, Role};

/// The verbs.
#[derive(Subcommand)]
pub enum User {
    /// Make a user who can log in
    Create(Create),
    /// List the users
    #[command(visible_alias = "ls")]
    List,
    /// Change a user's password and end the user's sessions
    Passwd(Passwd),
    /// Remove a user and end the user's sessions
    #[command(visible_alias = "rm")]
    Delete(Delete),
}

/// Whom.
#[derive(Args)]
pub struct Create {
    /// The user's name
    name: String,
    /// viewer reads, operator also changes machines and volumes, admin may do everything
    #[arg(long, value_name = "ROLE")]
    role: String,
    #[command(flatten)]
    password: password::From,
}

/// Whose.
#[derive(Args)]
pub struct Passwd {
    /// The user's name
    name: String,
    #[command(flatten)]
    password: password::From,
}

/// Whom.
#[derive(Args)]
pub struct Delete {
    /// The user's name
    name: String,
}

impl User {
    /// Runs the verb.
    pub async fn run(self, context: &Context) -> Ended {
        match self {
            Self::List => {
                let header = ["NAME", "ROLE", "CREATED"];
                render::list::<access::User, access::User, _>(context, &["users"], "", header, row).await
            }
            Self::Create(create) => {
                let (name, role) = (Name::new(&create.name)?, create.role.parse::<Role>()?);
                let client = context.client()?;
                let asked = CreateUser { name, role, password: context.asking(|| create.password.read())? };
                let made: access::User = client.post(&["users"], &asked).await?;
                render::done(context, &made, |u| format!("user \"{}\" has the role {}\n", u.name, u.role))
            }
            Self::Passwd(passwd) => {
                let name = input::reference(&passwd.name)?;
                let client = context.client()?;
                let asked = ChangePassword { password: context.asking(|| passwd.password.read())? };
                let user: access::User = client.post(&["users", name, "password"], &asked).await?;
                render::done(context, &user, |u| {
                    format!("user \"{}\" has a new password and no session\n", u.name)
                })
            }
            Self::Delete(delete) => {
                let name = input::reference(&delete.name)?;
                confirm(context, &format!("Delete user \"{name}\""), &[])?;
                let gone: access::User = context.client()?.delete(&["users", name], "").await?;
                render::done(context, &gone, |u| format!("user \"{}\" is deleted\n", u.name))
            }
        }
    }
}

fn row(u: access::User) -> [String; 3] {
    [u.name.to_string(), u.role.to_string(), render::time(u.created_at)]
}
