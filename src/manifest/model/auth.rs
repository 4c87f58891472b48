//! Authenticators.
//!
//! See [`super`] for how definitions are read and used.

use indexmap::IndexMap;

use super::{Decoder, HttpRequestRegexMatcher, RequestOption, Requester};
use crate::manifest::node::{Text, choice, component};

choice! {
    /// An authenticator.
    Authenticator {
        ApiKeyAuthenticator, BearerAuthenticator, BasicHttpAuthenticator, NoAuth, OAuthAuthenticator,
        SelectiveAuthenticator, SessionTokenAuthenticator, LegacySessionTokenAuthenticator, JwtAuthenticator,
        RateLimitedMultipleTokenAuthenticator,
    } later {}
}

component! {
    /// Several tokens in rotation, each with a call quota.
    RateLimitedMultipleTokenAuthenticator {
        /// A list of tokens, or one text.
        tokens: Text,
        /// The separator of tokens in a text; a comma by default.
        token_delimiter: Option<String>,
        /// The prefix of the token; `Bearer` by default.
        auth_method: Option<String>,
        /// The header; `Authorization` by default.
        header: Option<String>,
        /// Reports the remaining quota of a token.
        quota_status_source: QuotaStatusSource,
        /// The kinds of calls with separate quotas.
        quotas: Vec<TokenQuota>,
        /// The longest wait for new quota; two hours by default.
        max_wait_time: Option<Text>,
        /// Calls are spread out when every token's remaining share is at most this; a tenth by default.
        budget_reserve_fraction: Option<f64>,
        /// And when it has at most this many calls left; 50 by default.
        budget_min_reserve: Option<u64>,
    }
}

component! {
    /// The endpoint that reports the remaining quota of a token.
    QuotaStatusSource {
        /// The URL.
        url: Text,
        /// The HTTP method; GET by default.
        http_method: Option<String>,
        /// Additional headers.
        request_headers: Option<Text>,
        /// Statuses that mean that calls are not counted.
        unavailable_status_codes: Option<Vec<u64>>,
    }
}

component! {
    /// The quota for one kind of calls.
    TokenQuota {
        /// The name of the quota.
        name: String,
        /// The path of the number of remaining calls.
        remaining_path: Vec<String>,
        /// The path of the reset time.
        reset_path: Vec<String>,
        /// The path of the total number of calls.
        limit_path: Option<Vec<String>>,
        /// The calls that it applies to; all other calls if empty.
        matchers: Option<Vec<HttpRequestRegexMatcher>>,
        /// The response header with the number of remaining calls.
        remaining_header: Option<String>,
        /// The response header with the reset time.
        reset_header: Option<String>,
        /// The response header with the total number of calls.
        limit_header: Option<String>,
        /// Response statuses that mean that no call is left.
        exhaustion_status_codes: Option<Vec<u64>>,
    }
}

component! {
    /// An authenticator that the config selects.
    SelectiveAuthenticator {
        /// The config path that contains the selected name.
        authenticator_selection_path: Vec<String>,
        /// The authenticators by name.
        authenticators: IndexMap<String, Authenticator>,
    }
}

component! {
    /// OAuth 2.0: an access token from a refresh token or client credentials.
    OAuthAuthenticator {
        /// The client id.
        client_id: Option<Text>,
        /// The client secret.
        client_secret: Option<Text>,
        /// The refresh token.
        refresh_token: Option<Text>,
        /// The token endpoint; without it only `access_token_value` is used.
        token_refresh_endpoint: Option<Text>,
        /// The initial access token.
        access_token_value: Option<Text>,
        /// When the initial access token expires.
        token_expiry_date: Option<Text>,
        /// The format of the expiry time, if the response has a time instead of a number of seconds.
        token_expiry_date_format: Option<String>,
        /// `refresh_token`, `client_credentials`, …
        grant_type: Option<Text>,
        /// Sent as `scopes`.
        scopes: Option<Vec<String>>,
        /// Additional fields of the request.
        refresh_request_body: Option<Text>,
        /// Headers of the request.
        refresh_request_headers: Option<Text>,
        /// Sends the fields as query parameters, without a body.
        send_refresh_request_as_query_params: Option<bool>,
        /// The response field with the token.
        access_token_name: Option<Text>,
        /// The response field with its lifetime.
        expires_in_name: Option<Text>,
        /// The request field for the client id.
        client_id_name: Option<Text>,
        /// The request field for the client secret.
        client_secret_name: Option<Text>,
        /// The request field for the refresh token.
        refresh_token_name: Option<Text>,
        /// The request field for the grant type.
        grant_type_name: Option<Text>,
        /// The config paths of single-use tokens.
        refresh_token_updater: Option<RefreshTokenUpdater>,
        /// Signs an assertion that replaces client and refresh token.
        profile_assertion: Option<JwtAuthenticator>,
        /// Enables the assertion.
        use_profile_assertion: Option<Text>,
        /// Statuses that may mean that the refresh token was rejected …
        refresh_token_error_status_codes: Option<Vec<u64>>,
        /// … if this response field …
        refresh_token_error_key: Option<String>,
        /// … has one of these values.
        refresh_token_error_values: Option<Vec<String>>,
    }
}

component! {
    /// The config paths of single-use tokens.
    RefreshTokenUpdater {
        /// The response field with the next refresh token.
        refresh_token_name: Option<String>,
        /// The config path of the access token.
        access_token_config_path: Option<Vec<String>>,
        /// The config path of the refresh token.
        refresh_token_config_path: Option<Vec<String>>,
        /// The config path of the expiry time.
        token_expiry_date_config_path: Option<Vec<String>>,
        /// As in the authenticator, for older manifests.
        refresh_token_error_status_codes: Option<Vec<u64>>,
        /// As in the authenticator.
        refresh_token_error_key: Option<String>,
        /// As in the authenticator.
        refresh_token_error_values: Option<Vec<String>>,
    }
}

component! {
    /// A token from a login.
    SessionTokenAuthenticator {
        /// The login request.
        login_requester: Box<Requester>,
        /// The path of the token in the login response.
        session_token_path: Vec<String>,
        /// The lifetime of the token; without it every request logs in.
        expiration_duration: Option<Text>,
        /// How requests send the token.
        request_authentication: SessionTokenUse,
        /// The format of the login response.
        decoder: Option<Decoder>,
    }
}

choice! {
    /// How requests send a session token.
    SessionTokenUse { Bearer, ApiKey } later {}
}

component! {
    /// Sends the token as `Authorization: Bearer`.
    Bearer {}
}

component! {
    /// Sends the token under a name.
    ApiKey {
        /// Where the token is injected.
        inject_into: RequestOption,
        /// The text to send.
        api_token: Option<Text>,
    }
}

component! {
    /// A session token that is validated, or created with user name and password.
    LegacySessionTokenAuthenticator {
        /// The header for the token.
        header: Text,
        /// The path of the login endpoint.
        login_url: Text,
        /// The initial token.
        session_token: Option<Text>,
        /// The response field with the token.
        session_token_response_key: Text,
        /// The user name.
        username: Option<Text>,
        /// The password.
        password: Option<Text>,
        /// The path of the endpoint that validates a token.
        validate_session_url: Text,
    }
}

component! {
    /// A JSON Web Token that dripfeed signs.
    JwtAuthenticator {
        /// The signing key.
        secret_key: Text,
        /// Encodes the key in base64 first.
        base64_encode_secret_key: Option<Text>,
        /// The signature algorithm.
        algorithm: String,
        /// The lifetime of a token in seconds; 1200 by default.
        token_duration: Option<u64>,
        /// The prefix of the token.
        header_prefix: Option<Text>,
        /// The headers `kid`, `typ` and `cty`.
        jwt_headers: Option<JwtHeaders>,
        /// Additional token headers.
        additional_jwt_headers: Option<Text>,
        /// The claims `iss`, `sub` and `aud`.
        jwt_payload: Option<JwtPayload>,
        /// Additional claims.
        additional_jwt_payload: Option<Text>,
        /// The passphrase of an encrypted key.
        passphrase: Option<Text>,
        /// Where the token is injected; the `Authorization` header by default.
        request_option: Option<RequestOption>,
    }
}

component! {
    /// The headers of a token.
    JwtHeaders {
        /// The key id.
        kid: Option<Text>,
        /// The token type; `JWT` by default.
        typ: Option<Text>,
        /// The content type.
        cty: Option<Text>,
    }
}

component! {
    /// The claims of a token.
    JwtPayload {
        /// The issuer.
        iss: Option<Text>,
        /// The subject.
        sub: Option<Text>,
        /// The audience.
        aud: Option<Text>,
    }
}

component! {
    /// An API key in a header, parameter or body.
    ApiKeyAuthenticator {
        /// The API key.
        api_token: Option<Text>,
        /// The header (older alternative to `inject_into`).
        header: Option<Text>,
        /// Where the key is injected.
        inject_into: Option<RequestOption>,
    }
}

component! {
    /// `Authorization: Bearer`.
    BearerAuthenticator {
        /// The token.
        api_token: Text,
    }
}

component! {
    /// `Authorization: Basic`.
    BasicHttpAuthenticator {
        /// The user name.
        username: Text,
        /// The password.
        password: Option<Text>,
    }
}

component! {
    /// No authentication.
    NoAuth {}
}
