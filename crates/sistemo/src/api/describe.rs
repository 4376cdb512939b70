//! What the description of the API says about all requests alike.

use super::access::COOKIE;
use super::{examples, refusals};
use axum::http::Method;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{HeaderBuilder, ObjectBuilder, OpenApi, RefOr, Required, Type};

/// Adds how to say who asks, the headers that many requests take, what they are refused with, and examples.
pub fn complete(api: &mut OpenApi) {
    let components = api.components.get_or_insert_with(Default::default);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token, over TCP; over the Unix socket the kernel says who asks"))
        .build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let cookie = ApiKeyValue::with_description(COOKIE, "A session, made by /v1/login");
    components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let none: [&str; 0] = [];
    api.security =
        Some(vec![SecurityRequirement::new("token", none), SecurityRequirement::new("session", none)]);
    for (path, item) in &mut api.paths.paths {
        let about_one =
            ["{machine}", "{volume}", "{snapshot}", "{image}", "{pool}"].iter().any(|p| path.contains(p));
        let session = ["/v1/login", "/v1/logout", "/v1/setup"].contains(&path.as_str());
        if let Some(post) = item.post.as_mut().filter(|_| !session && !path.ends_with("/exec")) {
            add(
                post,
                header(
                    "Idempotency-Key",
                    "The same for all tries of one request: it is carried out once within a day",
                    (1, 255),
                ),
            );
        }
        for change in [item.post.as_mut(), item.patch.as_mut(), item.delete.as_mut()].into_iter().flatten() {
            if about_one && !path.ends_with("/exec") {
                add(
                    change,
                    header("If-Match", "An ETag: refused (412) if the thing has changed since", (1, 64)),
                );
            }
        }
        let all = [
            (Method::GET, item.get.as_mut()),
            (Method::POST, item.post.as_mut()),
            (Method::PATCH, item.patch.as_mut()),
            (Method::DELETE, item.delete.as_mut()),
        ];
        for (method, operation) in all {
            let Some(operation) = operation else { continue };
            if let Some(RefOr::T(accepted)) = operation.responses.responses.get_mut("202") {
                let place = HeaderBuilder::new().description(Some("Where to follow the operation"));
                accepted.headers.insert("location".into(), place.build());
            }
            examples::add(operation);
            refusals::add(operation, &method, path);
        }
    }
}

fn add(operation: &mut Operation, parameter: Parameter) {
    operation.parameters.get_or_insert_with(Vec::new).push(parameter);
}

fn header(name: &str, what: &str, (least, most): (usize, usize)) -> Parameter {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(least)).max_length(Some(most));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(what))
        .schema(Some(text.build()))
        .build()
}
