//! What the description of the API says about refusals.
//!
//! Invariant: what many requests may be refused with is told here once, not at each handler, and every
//! example is shaped by what shapes the daemon's own answers.

use super::access::guard::too_many;
use super::access::{Needs, needed, unknown};
use super::problem::Failure;
use super::{MAX_BODY, pages};
use axum::http::{Method, StatusCode};
use std::time::Duration;
use types::{Code, Name, Problem, Role};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{ContentBuilder, Header, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};

/// The id of the request in every example.
const REQUEST: &str = "019c13ec-9e00-7abc-8def-0123456789ab";
/// What there is to do about a failure of the daemon, as its answers say.
const LOG: &str = "the daemon's log says more, under this request's id";

/// A refusal: the status, when it comes, and one of its kind.
struct Refusal(StatusCode, String, Problem);

/// Adds every refusal that this operation may answer with. Whatever else there is falls under `default`.
pub fn add(operation: &mut Operation, method: &Method, path: &str) {
    let asked = Asked::new(operation, method, path);
    for Refusal(status, when, problem) in asked.refusals() {
        let answer = RefOr::T(answer(status, &when, problem));
        operation.responses.responses.insert(status.as_str().to_owned(), answer);
    }
    let rest = Problem::new(Code::Internal, "the daemon failed over this request").hint(LOG);
    if let Some(RefOr::T(default)) = operation.responses.responses.get_mut("default") {
        for content in default.content.values_mut() {
            content.example = example(StatusCode::INTERNAL_SERVER_ERROR, rest.clone());
        }
    }
}

fn answer(status: StatusCode, when: &str, problem: Problem) -> Response {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ProblemBody")))
        .example(example(status, problem))
        .build();
    let answer = ResponseBuilder::new().description(when).content("application/problem+json", content);
    let answer = match status {
        StatusCode::UNAUTHORIZED => answer.header("www-authenticate", header("How to say who asks")),
        StatusCode::TOO_MANY_REQUESTS => answer.header("retry-after", header("After how many seconds")),
        _ => answer,
    };
    answer.build()
}

fn taken(kind: &str, name: &str) -> Problem {
    Problem::new(Code::NameTaken, format!("there is a {kind} \"{name}\" already"))
        .hint(format!("choose another name; `sistemo {kind} list` shows what there is"))
}

fn header(what: &str) -> Header {
    HeaderBuilder::new().description(Some(what)).build()
}

fn example(status: StatusCode, problem: Problem) -> Option<serde_json::Value> {
    serde_json::to_value(Failure::from(problem).status(status).body(REQUEST)).ok()
}

/// What decides how an operation may be refused.
struct Asked<'a> {
    path: &'a str,
    needs: Needs,
    reads: bool,
    /// It takes a body of JSON.
    json: bool,
    /// It takes a body of bytes.
    bytes: bool,
    parameters: Vec<String>,
}

impl<'a> Asked<'a> {
    fn new(operation: &Operation, method: &Method, path: &'a str) -> Self {
        let body = |kind: &str| operation.request_body.as_ref().is_some_and(|b| b.content.contains_key(kind));
        Self {
            path,
            needs: needed(method, path),
            reads: method.is_safe(),
            json: body("application/json"),
            bytes: body("application/octet-stream"),
            parameters: operation.parameters.iter().flatten().map(|p| p.name.clone()).collect(),
        }
    }

    fn takes(&self, parameter: &str) -> bool {
        self.parameters.iter().any(|p| p == parameter)
    }

    /// The last thing that the path names: `volume` of `/v1/volumes/{volume}/clone`.
    fn named(&self) -> Option<&'a str> {
        self.path.split('/').rev().find_map(|s| s.strip_prefix('{')?.strip_suffix('}'))
    }

    fn refusals(&self) -> Vec<Refusal> {
        let mut all = vec![
            Refusal(
                StatusCode::MISDIRECTED_REQUEST,
                "The request was meant for a name by which the daemon is not known".into(),
                Problem::new(Code::InvalidRequest, "this daemon is not known as \"vm.example\"")
                    .hint("use its address, or add the name to allowed_hosts"),
            ),
            Refusal(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests from this address, or too many failed logins".into(),
                too_many("requests", Duration::from_secs(1)).problem().clone(),
            ),
            Refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The daemon, its database or its host failed".into(),
                Problem::new(Code::Internal, "the daemon failed over this request").hint(LOG),
            ),
            Refusal(
                StatusCode::GATEWAY_TIMEOUT,
                "It took too long".into(),
                Problem::new(Code::TimedOut, "the daemon took too long over this request").hint(LOG),
            ),
        ];
        if !self.reads || !self.parameters.is_empty() {
            let when = "What was asked makes no sense: the address, the query, a header or the body".into();
            all.push(Refusal(StatusCode::BAD_REQUEST, when, self.senseless()));
        }
        all.extend(self.not_for_everybody());
        all.extend(self.not_found());
        all.extend(self.in_the_way());
        all.extend(self.bodies());
        if self.takes("If-Match") {
            let text =
                format!("the {} has changed: it has revision 12, not 7", self.named().unwrap_or("thing"));
            let problem = Problem::new(Code::PreconditionFailed, text)
                .hint("look at it again, and ask with its new ETag if it is still wanted");
            let when = "It has changed since the ETag of `If-Match`".into();
            all.push(Refusal(StatusCode::PRECONDITION_FAILED, when, problem));
        }
        if !self.reads || self.path == "/readyz" {
            let problem = Problem::new(Code::ShuttingDown, "the daemon is ending and takes no changes")
                .hint("ask again once it is back; machines go on running meanwhile");
            let when = "The daemon is ending and takes no changes".into();
            all.push(Refusal(StatusCode::SERVICE_UNAVAILABLE, when, problem));
        }
        if !self.reads {
            let problem = Problem::new(Code::PoolFull, "there is no room to write down what is asked")
                .hint("free some of the disk below the data directory");
            let when = "There is no room for it, or to write it down".into();
            all.push(Refusal(StatusCode::INSUFFICIENT_STORAGE, when, problem));
        }
        all.extend(self.of_some());
        all
    }

    /// 400.
    fn senseless(&self) -> Problem {
        let told = match self.named() {
            _ if self.json => None,
            _ if self.takes("limit") => pages::limit(Some(0), 1).err(),
            Some("machine" | "volume" | "snapshot" | "image" | "network" | "pool") => Name::new("Web").err(),
            _ => None,
        };
        let text = if self.json {
            "the body is not understood: unknown field `colour` at line 1 column 10"
        } else {
            "the query is not understood: unknown field `colour`"
        };
        told.unwrap_or_else(|| {
            Problem::new(Code::InvalidRequest, text).hint("the API is described at /v1/openapi.json")
        })
    }

    /// 401 and 403.
    fn not_for_everybody(&self) -> Vec<Refusal> {
        let mut all = Vec::new();
        let role = match self.needs {
            Needs::Role(role) => role,
            // It tells everybody.
            Needs::Nothing if self.reads => return all,
            Needs::Nothing => Role::Viewer,
        };
        let who = match self.path {
            "/v1/setup" => None,
            "/v1/login" => Some(("The name or the password is wrong", "the name or the password is wrong")),
            _ => Some((
                "It is not said who asks, or that is not known, or not any more",
                "it is not said who asks",
            )),
        };
        if let Some((when, said)) = who {
            all.push(Refusal(StatusCode::UNAUTHORIZED, when.into(), unknown(said).problem().clone()));
        }
        let (when, problem) = match (role, self.path) {
            (_, "/v1/setup") => (
                "There is an admin already, or the code is not right, or a page of another site asks"
                    .to_owned(),
                Problem::new(Code::NoPermission, "the code of the set-up link is not right")
                    .hint("`sistemo up` prints the link until there is an admin"),
            ),
            (Role::Viewer, _) if self.reads => (
                "A user of this host asks who may not".to_owned(),
                Problem::new(Code::NoPermission, "user \"guest\" may not use this daemon")
                    .hint("run the command as root, or as a member of group sistemo"),
            ),
            (Role::Viewer, _) => (
                "A page of another site asks, or a user of this host who may not".to_owned(),
                Problem::new(Code::NoPermission, "the request comes from another site")
                    .hint("use the daemon's own pages"),
            ),
            (role, _) => {
                let others = if self.reads { "" } else { ", or a page of another site asks" };
                let text = format!("this needs the role {role}, and token:ci@192.0.2.1 has the role viewer");
                (
                    format!("It needs the role {role}{others}, or a user of this host asks who may not"),
                    Problem::new(Code::NoPermission, text).hint("ask an admin, or use another token"),
                )
            }
        };
        all.push(Refusal(StatusCode::FORBIDDEN, when, problem));
        all
    }

    /// 404.
    fn not_found(&self) -> Option<Refusal> {
        let what = match (self.named(), self.path) {
            (Some(what), _) => what,
            (None, "/v1/machines" | "/v1/images") if !self.reads => "image",
            (None, "/v1/volumes" | "/v1/volumes/import") if !self.reads => "pool",
            (None, _) => return None,
        };
        let (code, name) = match what {
            "machine" => (Code::MachineNotFound, "web"),
            "volume" => (Code::VolumeNotFound, "appdata"),
            "snapshot" => (Code::SnapshotNotFound, "before"),
            "image" => (Code::ImageNotFound, "debain"),
            "network" => (Code::NetworkNotFound, "backend"),
            "pool" => (Code::PoolNotFound, "fast"),
            "token" => (Code::TokenNotFound, "ci"),
            "user" => (Code::UserNotFound, "ada"),
            _ => (Code::OperationNotFound, REQUEST),
        };
        let problem = Problem::new(code, format!("there is no {what} \"{name}\""))
            .hint(format!("`sistemo {what} list` shows what there is"));
        let when = if self.json || self.bytes {
            format!("There is no such {what}, or something else that is named is not there")
        } else {
            format!("There is no such {what}")
        };
        Some(Refusal(StatusCode::NOT_FOUND, when, problem))
    }

    /// 409.
    fn in_the_way(&self) -> Option<Refusal> {
        let open = ["/v1/login", "/v1/logout"].contains(&self.path);
        if open || (self.reads && !self.path.ends_with("/ssh")) {
            return None;
        }
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let problem = match (last, self.named()) {
            ("ssh" | "exec", _) => Problem::new(Code::MachineNotRunning, "machine \"web\" is stopped")
                .hint("`sistemo machine start web` starts it"),
            ("resize", Some("volume")) => {
                Problem::new(Code::CannotShrink, "volume \"appdata\" is 2.0GB; 1.0GB would be less")
                    .hint("a volume only grows; copy the data to a smaller new volume instead")
            }
            ("resize", _) => {
                Problem::new(Code::CannotShrink, "pool \"fast\" is 20.0GB; 10.0GB would be less")
                    .hint("a pool only grows; make a smaller one and move the volumes there")
            }
            ("{volume}", _) if self.path.starts_with("/v1/machines/") => {
                Problem::new(Code::VolumeNotAttached, "volume \"appdata\" is not attached to machine \"web\"")
            }
            ("{volume}" | "volumes" | "move", Some(_)) | ("restore", Some("snapshot")) => {
                Problem::new(Code::VolumeInUse, "volume \"appdata\" is attached to machine \"web\"")
                    .hint("`sistemo machine volume detach web appdata` first")
            }
            ("start" | "restart", _) => {
                Problem::new(Code::HostHalting, "the host is shutting down and starts no machines")
                    .hint("ask again once it is back; `sistemo host resume` calls its end off")
            }
            ("{machine}", _) => Problem::new(Code::Protected, "machine \"web\" is protected")
                .hint("`sistemo machine unprotect web` first"),
            ("{pool}", _) => Problem::new(Code::PoolInUse, "pool \"fast\" has volume \"appdata\""),
            ("{image}", _) => {
                Problem::new(Code::ImageInUse, "volume \"web-root\" is being filled from image \"debian\"")
                    .hint("wait until it is filled")
            }
            ("export", _) => Problem::new(Code::Busy, "as many volumes are being read as can be at once")
                .hint("try again once one of them has ended: `sistemo operation list`"),
            ("machines", _) => taken("machine", "web"),
            ("pools", _) => taken("pool", "fast"),
            ("tokens", _) => taken("token", "ci"),
            ("users" | "setup", _) => taken("user", "ada"),
            ("snapshot" | "undelete", _) => taken("snapshot", "before"),
            ("clone" | "restore", Some("machine")) => taken("machine", "web"),
            ("clone" | "restore" | "volumes" | "import", _) => taken("volume", "appdata"),
            _ if self.takes("Idempotency-Key") => {
                Problem::new(Code::Conflict, "this Idempotency-Key was used for another request")
                    .hint("use a new key for each request, and the same one only to repeat it")
            }
            _ => Problem::new(Code::Conflict, "others keep changing the same thing").hint("try again"),
        };
        let when =
            "What there is stands in the way: its state, its name, or a change that is under way".into();
        Some(Refusal(StatusCode::CONFLICT, when, problem))
    }

    /// 408, 413 and 415.
    fn bodies(&self) -> Vec<Refusal> {
        let mut all = Vec::new();
        if self.json {
            all.push(Refusal(
                StatusCode::REQUEST_TIMEOUT,
                "The body did not come in time".into(),
                Problem::new(Code::TimedOut, "the body did not come within 30 s"),
            ));
            all.push(Refusal(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large".into(),
                Problem::new(Code::InvalidRequest, "the body cannot be read: it is too large")
                    .hint(format!("it has at most {MAX_BODY} bytes")),
            ));
        }
        if !self.reads {
            let (what, kind) =
                if self.bytes { ("bytes", "application/octet-stream") } else { ("JSON", "application/json") };
            all.push(Refusal(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("There is a body that is not said to be {what}"),
                Problem::new(Code::InvalidRequest, format!("the body is not said to be {what}"))
                    .hint(format!("send it with `Content-Type: {kind}`")),
            ));
        }
        all
    }

    /// 410, 501 and 502.
    fn of_some(&self) -> Option<Refusal> {
        match self.path {
            "/v1/events" => Some(Refusal(
                StatusCode::GONE,
                "The log does not reach back so far".into(),
                Problem::new(
                    Code::RevisionGone,
                    "changes after revision 7 cannot be told: the log does not reach back so far",
                )
                .hint("read the lists anew, and follow from now"),
            )),
            "/v1/machines" | "/v1/images" if !self.reads => Some(Refusal(
                StatusCode::NOT_IMPLEMENTED,
                "The image is where it cannot be fetched from yet".into(),
                Problem::new(Code::NotYet, "images cannot be pulled from a registry yet")
                    .hint("what can be built here: debian, ubuntu"),
            )),
            path if path.ends_with("/exec") => Some(Refusal(
                StatusCode::BAD_GATEWAY,
                "The guest does not answer, or refuses".into(),
                Problem::new(Code::GuestUnreachable, "the agent in the guest does not answer"),
            )),
            _ => None,
        }
    }
}
