//! Users who can log in.

use super::call::{self, call, write};
use super::extract::{Args, Raw, Seg, Who};
use super::pages::PageArgs;
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use types::List;
use types::access::{ChangePassword, CreateUser, Secret, User};
use types::operation::{Kind, Verb};

/// Lists the users.
#[utoipa::path(
    get,
    path = "/v1/users",
    tag = "access",
    operation_id = "users_list",
    params(PageArgs),
    responses(
        (status = 200, description = "By name", body = List<User>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(args): Args<PageArgs>) -> Result<Response, Failure> {
    let all = call(&app, |engine| engine.users()).await?;
    Ok(args.of(all, |one| one.name.to_string())?)
}

/// Makes a user.
#[utoipa::path(
    post,
    path = "/v1/users",
    tag = "access",
    operation_id = "users_create",
    request_body = CreateUser,
    responses(
        (status = 201, description = "The user", body = User),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(app): State<Shared>,
    who: Who,
    raw: Raw,
) -> Result<(StatusCode, Json<User>), Failure> {
    let asked: CreateUser = raw.change(&app, &who, Verb::UserCreate, Kind::User, "").await?;
    let kept = keep(&app, &who, Verb::UserCreate, asked.name.as_str(), asked.password).await?;
    let made =
        write(&app, move |engine| who.on(engine).create_user(&who.0, &asked.name, asked.role, &kept)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes a user's password and ends the user's sessions.
#[utoipa::path(
    post,
    path = "/v1/users/{user}/password",
    tag = "access",
    operation_id = "users_passwd",
    params(("user" = String, Path, description = "Name")),
    request_body = ChangePassword,
    responses(
        (status = 200, description = "The user", body = User),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn passwd(
    State(app): State<Shared>,
    who: Who,
    Seg(user): Seg<String>,
    raw: Raw,
) -> Result<Json<User>, Failure> {
    let asked: ChangePassword = raw.change(&app, &who, Verb::UserPasswd, Kind::User, &user).await?;
    let kept = keep(&app, &who, Verb::UserPasswd, &user, asked.password).await?;
    write(&app, move |engine| who.on(engine).set_password(&who.0, &user, &kept)).await.map(Json)
}

/// Removes a user and ends the user's sessions.
#[utoipa::path(
    delete,
    path = "/v1/users/{user}",
    tag = "access",
    operation_id = "users_delete",
    params(("user" = String, Path, description = "Name")),
    responses(
        (status = 200, description = "The user who is no more", body = User),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn delete(
    State(app): State<Shared>,
    who: Who,
    Seg(user): Seg<String>,
) -> Result<Json<User>, Failure> {
    write(&app, move |engine| who.on(engine).delete_user(&who.0, &user)).await.map(Json)
}

/// What to keep of a password; the refusal of one that is not usable goes into history.
pub(super) async fn keep(
    app: &Shared,
    who: &Who,
    verb: Verb,
    name: &str,
    password: Secret,
) -> Result<String, Failure> {
    if let Err(problem) = password.usable_password() {
        call::refused(app, &who.0, verb, (Kind::User, name), &problem).await?;
        return Err(problem.into());
    }
    Ok(app.gate.keep_password(password).await?)
}
