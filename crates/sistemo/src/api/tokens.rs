//! Tokens.

use super::access::secret;
use super::call::{call, write};
use super::extract::{Args, Raw, Seg, Who};
use super::pages::PageArgs;
use super::problem::Failure;
use super::{ProblemBody, Shared};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use types::List;
use types::access::{CreateToken, CreatedToken, Token};
use types::operation::{Kind, Verb};

/// Lists the tokens, without what is secret about them.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    tag = "access",
    operation_id = "tokens_list",
    params(PageArgs),
    responses(
        (status = 200, description = "By name", body = List<Token>),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(State(app): State<Shared>, Args(args): Args<PageArgs>) -> Result<Response, Failure> {
    let all = call(&app, |engine| engine.tokens()).await?;
    Ok(args.of(all, |one| one.name.to_string())?)
}

/// Makes a token. This answer is the only one that ever carries it.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "access",
    operation_id = "tokens_create",
    request_body = CreateToken,
    responses(
        (status = 201, description = "The token", body = CreatedToken),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn create(
    State(app): State<Shared>,
    who: Who,
    raw: Raw,
) -> Result<(StatusCode, Json<CreatedToken>), Failure> {
    let asked: CreateToken = raw.change(&app, &who, Verb::TokenCreate, Kind::Token, "").await?;
    let (token, prefix) = secret::token()?;
    let hash = secret::hash(token.expose());
    let about =
        write(&app, move |engine| who.on(engine).create_token(&who.0, &asked, &prefix, &hash)).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token, about })))
}

/// Ends a token.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{token}",
    tag = "access",
    operation_id = "tokens_revoke",
    params(("token" = String, Path, description = "Id or name")),
    responses(
        (status = 200, description = "The token that is no more", body = Token),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn revoke(
    State(app): State<Shared>,
    who: Who,
    Seg(token): Seg<String>,
) -> Result<Json<Token>, Failure> {
    write(&app, move |engine| who.on(engine).revoke_token(&who.0, &token)).await.map(Json)
}
