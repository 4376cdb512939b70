//! Sessions: logging in and out, and the first admin.
//!
//! Invariant: a refused login says the same whether the name or the password was wrong, and takes
//! as long.

use super::access::{Caller, From, How};
use super::call::write;
use super::extract::{Raw, Who};
use super::problem::Failure;
use super::users::keep;
use super::{ProblemBody, Shared};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::Conditions;
use types::Actor;
use types::access::{Login, Session, Setup, User};
use types::operation::{Kind, Verb};

/// Opens a session; the answer sets its cookie.
#[utoipa::path(
    post,
    path = "/v1/login",
    tag = "access",
    operation_id = "login",
    request_body = Login,
    security(()),
    responses(
        (status = 200, description = "Who it is; the session is in the cookie `sistemo_session`", body = Session),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn login(
    State(app): State<Shared>,
    Extension(from): Extension<From>,
    raw: Raw,
) -> Result<Response, Failure> {
    let asked: Login = raw.json()?;
    let (session, cookie) = app.gate.log_in(&app, asked, from).await?;
    Ok((with_cookie(&cookie)?, Json(session)).into_response())
}

/// Ends the session of the request.
#[utoipa::path(
    post,
    path = "/v1/logout",
    tag = "access",
    operation_id = "logout",
    responses(
        (status = 204, description = "It has ended"),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn logout(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failure> {
    if let How::Session(user, hash) = caller.how {
        write(&app, move |engine| engine.close_session(&caller.actor, &user, &hash)).await?;
    }
    let gone = format!("{}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0", super::access::COOKIE);
    Ok((StatusCode::NO_CONTENT, with_cookie(&gone)?).into_response())
}

/// Tells who asks and what they may do.
#[utoipa::path(
    get,
    path = "/v1/session",
    tag = "access",
    operation_id = "session",
    responses(
        (status = 200, description = "Who asks", body = Session),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn session(Extension(caller): Extension<Caller>) -> Json<Session> {
    Json(Session { actor: caller.actor.0, role: caller.role, expires_at: caller.expires_at })
}

/// Makes the first admin, for whoever has the code that `sistemo up` printed.
#[utoipa::path(
    post,
    path = "/v1/setup",
    tag = "access",
    operation_id = "setup",
    request_body = Setup,
    security(()),
    responses(
        (status = 201, description = "The admin", body = User),
        (status = "default", description = "What went wrong", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn setup(
    State(app): State<Shared>,
    Extension(from): Extension<From>,
    raw: Raw,
) -> Result<(StatusCode, Json<User>), Failure> {
    // Before anything is looked at: nobody is known here, and each refusal is a line of the history.
    app.gate.may_try(from)?;
    let who = Who(Actor(format!("setup@{}", from.place())), Conditions::default());
    let asked: Setup = raw.change(&app, &who, Verb::Setup, Kind::User, "").await?;
    app.gate.may_set_up(&app, &who.0, &asked).await?;
    let kept = keep(&app, &who, Verb::Setup, asked.name.as_str(), asked.password).await?;
    let made = write(&app, move |engine| who.on(engine).first_admin(&who.0, &asked.name, &kept)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

fn with_cookie(cookie: &str) -> Result<[(header::HeaderName, HeaderValue); 1], Failure> {
    let value = HeaderValue::from_str(cookie)
        .map_err(|_| types::Problem::new(types::Code::Internal, "a cookie could not be written"))?;
    Ok([(header::SET_COOKIE, value)])
}
