//! Who asks: authenticators.
//!
//! Read and used as [`super`] says.

use indexmap::IndexMap;

use super::{Decoder, HttpRequestRegexMatcher, RequestOption, Requester};
use crate::manifest::node::{Text, choice, component};

choice! {
    /// Who asks.
    Authenticator {
        ApiKeyAuthenticator, BearerAuthenticator, BasicHttpAuthenticator, NoAuth, OAuthAuthenticator,
        SelectiveAuthenticator, SessionTokenAuthenticator, LegacySessionTokenAuthenticator, JwtAuthenticator,
        RateLimitedMultipleTokenAuthenticator,
    } later {}
}

component! {
    /// Several tokens that take turns, each with so many calls.
    RateLimitedMultipleTokenAuthenticator {
        /// A list of them, or one text.
        tokens: Text,
        /// What stands between them in a text; a comma when not said.
        token_delimiter: Option<String>,
        /// Stands before the token; `Bearer` when not said.
        auth_method: Option<String>,
        /// The header; `Authorization` when not said.
        header: Option<String>,
        /// Tells what a token has left.
        quota_status_source: QuotaStatusSource,
        /// The kinds of calls that are counted apart.
        quotas: Vec<TokenQuota>,
        /// Waits no longer for new calls; two hours when not said.
        max_wait_time: Option<Text>,
        /// Calls are spread once every token has no more than this share left; a tenth when not said.
        budget_reserve_fraction: Option<f64>,
        /// And no more than so many; 50 when not said.
        budget_min_reserve: Option<u64>,
    }
}

component! {
    /// Where the vendor tells what a token has left.
    QuotaStatusSource {
        /// The address.
        url: Text,
        /// GET when not said.
        http_method: Option<String>,
        /// More headers.
        request_headers: Option<Text>,
        /// Statuses that mean that calls are not counted.
        unavailable_status_codes: Option<Vec<u64>>,
    }
}

component! {
    /// Calls of a kind.
    TokenQuota {
        /// What they are called.
        name: String,
        /// Where it stands how many are left.
        remaining_path: Vec<String>,
        /// And when there are new ones.
        reset_path: Vec<String>,
        /// And how many there are in all.
        limit_path: Option<Vec<String>>,
        /// Which calls; all others when empty.
        matchers: Option<Vec<HttpRequestRegexMatcher>>,
        /// The header of answers that tells how many are left.
        remaining_header: Option<String>,
        /// And when there are new ones.
        reset_header: Option<String>,
        /// And how many there are in all.
        limit_header: Option<String>,
        /// Statuses of answers that mean that none is left.
        exhaustion_status_codes: Option<Vec<u64>>,
    }
}

component! {
    /// The config decides who asks.
    SelectiveAuthenticator {
        /// Where the config names one.
        authenticator_selection_path: Vec<String>,
        /// Them.
        authenticators: IndexMap<String, Authenticator>,
    }
}

component! {
    /// OAuth 2.0: an access token from a refresh token or client credentials.
    OAuthAuthenticator {
        /// The client.
        client_id: Option<Text>,
        /// Its secret.
        client_secret: Option<Text>,
        /// The refresh token.
        refresh_token: Option<Text>,
        /// Where tokens are given; without it `access_token_value` is all there is.
        token_refresh_endpoint: Option<Text>,
        /// An access token to begin with.
        access_token_value: Option<Text>,
        /// When that one expires.
        token_expiry_date: Option<Text>,
        /// Says that the answer tells a time, not a number of seconds.
        token_expiry_date_format: Option<String>,
        /// `refresh_token`, `client_credentials`, …
        grant_type: Option<Text>,
        /// Asked for as `scopes`.
        scopes: Option<Vec<String>>,
        /// More fields of the request.
        refresh_request_body: Option<Text>,
        /// Headers of the request.
        refresh_request_headers: Option<Text>,
        /// Sends the fields in the query, and no body.
        send_refresh_request_as_query_params: Option<bool>,
        /// The field of the answer with the token.
        access_token_name: Option<Text>,
        /// The field of the answer that tells how long it lives.
        expires_in_name: Option<Text>,
        /// The field of the request for the client.
        client_id_name: Option<Text>,
        /// The field of the request for its secret.
        client_secret_name: Option<Text>,
        /// The field of the request for the refresh token.
        refresh_token_name: Option<Text>,
        /// The field of the request for the grant type.
        grant_type_name: Option<Text>,
        /// Where in the config tokens stand that change with every use.
        refresh_token_updater: Option<RefreshTokenUpdater>,
        /// Signs what is sent instead of client and refresh token.
        profile_assertion: Option<JwtAuthenticator>,
        /// Uses it.
        use_profile_assertion: Option<Text>,
        /// Statuses that may mean that the refresh token was refused …
        refresh_token_error_status_codes: Option<Vec<u64>>,
        /// … where this field of the answer …
        refresh_token_error_key: Option<String>,
        /// … has one of these values.
        refresh_token_error_values: Option<Vec<String>>,
    }
}

component! {
    /// Where in the config tokens stand that change with every use.
    RefreshTokenUpdater {
        /// The field of the answer with the next refresh token.
        refresh_token_name: Option<String>,
        /// The access token's place.
        access_token_config_path: Option<Vec<String>>,
        /// The refresh token's place.
        refresh_token_config_path: Option<Vec<String>>,
        /// The place of its expiry.
        token_expiry_date_config_path: Option<Vec<String>>,
        /// As in the authenticator, where older manifests say it.
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
        /// The login.
        login_requester: Box<Requester>,
        /// Where in its answer the token stands.
        session_token_path: Vec<String>,
        /// How long it lives; without it every request logs in.
        expiration_duration: Option<Text>,
        /// How requests carry it.
        request_authentication: SessionTokenUse,
        /// What the body of the login's answer is.
        decoder: Option<Decoder>,
    }
}

choice! {
    /// How requests carry a session token.
    SessionTokenUse { Bearer, ApiKey } later {}
}

component! {
    /// As `Authorization: Bearer`.
    Bearer {}
}

component! {
    /// Under a name.
    ApiKey {
        /// Where it goes.
        inject_into: RequestOption,
        /// What of it is sent.
        api_token: Option<Text>,
    }
}

component! {
    /// A session token, checked, or made from a user's name and password.
    LegacySessionTokenAuthenticator {
        /// The header that carries it.
        header: Text,
        /// The path of the login.
        login_url: Text,
        /// A token to begin with.
        session_token: Option<Text>,
        /// The field of the login's answer.
        session_token_response_key: Text,
        /// The user.
        username: Option<Text>,
        /// Their password.
        password: Option<Text>,
        /// The path at which a token is checked.
        validate_session_url: Text,
    }
}

component! {
    /// A JSON Web Token, signed here.
    JwtAuthenticator {
        /// The key.
        secret_key: Text,
        /// Encodes the key first.
        base64_encode_secret_key: Option<Text>,
        /// How it is signed.
        algorithm: String,
        /// How long a token lives, in seconds; 1200 when not said.
        token_duration: Option<u64>,
        /// Stands before the token.
        header_prefix: Option<Text>,
        /// `kid`, `typ` and `cty`.
        jwt_headers: Option<JwtHeaders>,
        /// More headers.
        additional_jwt_headers: Option<Text>,
        /// `iss`, `sub` and `aud`.
        jwt_payload: Option<JwtPayload>,
        /// More claims.
        additional_jwt_payload: Option<Text>,
        /// Opens an encrypted key.
        passphrase: Option<Text>,
        /// Where it goes; the `Authorization` header when not said.
        request_option: Option<RequestOption>,
    }
}

component! {
    /// Headers of a token.
    JwtHeaders {
        /// Which key.
        kid: Option<Text>,
        /// `JWT` when not said.
        typ: Option<Text>,
        /// What it holds.
        cty: Option<Text>,
    }
}

component! {
    /// Claims of a token.
    JwtPayload {
        /// Who issued it.
        iss: Option<Text>,
        /// About whom.
        sub: Option<Text>,
        /// For whom.
        aud: Option<Text>,
    }
}

component! {
    /// A key in a header, parameter or body.
    ApiKeyAuthenticator {
        /// The key.
        api_token: Option<Text>,
        /// The header (the older way to say where).
        header: Option<Text>,
        /// Where it goes.
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
        /// The user.
        username: Text,
        /// Their password.
        password: Option<Text>,
    }
}

component! {
    /// Nobody asks.
    NoAuth {}
}
