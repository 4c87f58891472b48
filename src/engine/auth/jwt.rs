//! JSON Web Tokens that dripfeed signs (RFC 7519, RFC 7515).
//!
//! Input: the definition; then the variables of a request. Output: a signed token. Called by [`super::Auth`] for each
//! attempt of a request, and by `oauth` as an assertion. Header, claims and their order are those of airbyte-cdk with
//! PyJWT.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::{Map, Value as Json, json};
use sha2::{Sha256, Sha384, Sha512};
use time::OffsetDateTime;

use super::KeyPlace;
use crate::base::fault::{Fault, Result};
use crate::base::json::python;
use crate::manifest::model::JwtAuthenticator;
use crate::manifest::node::{Place, Text};
use crate::manifest::template::{EvalContext, Injection, RequestOptions, Template, Types, Vars};

/// The default lifetime of a token in seconds.
const LIVES: u64 = 1200;

/// A token signed for each request.
#[derive(Debug)]
pub struct Jwt {
    secret: Template,
    encode_secret: Option<Template>,
    passphrase: Option<Template>,
    algorithm: Algorithm,
    lives: u64,
    prefix: Option<Template>,
    headers: Parts,
    claims: Parts,
    place: KeyPlace,
    at: Place,
}

/// Headers or claims.
#[derive(Debug)]
struct Parts {
    /// The manifest's additional entries; their names are templates too.
    more: Vec<(Template, Template)>,
    /// The standard entries.
    own: Vec<(&'static str, Template)>,
    /// Names that must not be added.
    reserved: &'static [&'static str],
}

/// A signature algorithm.
#[derive(Debug, Clone, Copy)]
struct Algorithm {
    name: &'static str,
    family: Family,
}

#[derive(Debug, Clone, Copy)]
enum Family {
    Hs256,
    Hs384,
    Hs512,
    Rsa(&'static dyn RsaEncoding),
    Ecdsa(&'static ring::signature::EcdsaSigningAlgorithm),
    EdDsa,
}

impl Algorithm {
    fn of(name: &str) -> Option<Algorithm> {
        let (name, family) = match name {
            "HS256" => ("HS256", Family::Hs256),
            "HS384" => ("HS384", Family::Hs384),
            "HS512" => ("HS512", Family::Hs512),
            "RS256" => ("RS256", Family::Rsa(&RSA_PKCS1_SHA256)),
            "RS384" => ("RS384", Family::Rsa(&RSA_PKCS1_SHA384)),
            "RS512" => ("RS512", Family::Rsa(&RSA_PKCS1_SHA512)),
            "PS256" => ("PS256", Family::Rsa(&RSA_PSS_SHA256)),
            "PS384" => ("PS384", Family::Rsa(&RSA_PSS_SHA384)),
            "PS512" => ("PS512", Family::Rsa(&RSA_PSS_SHA512)),
            "ES256" => ("ES256", Family::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            "ES384" => ("ES384", Family::Ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            "EdDSA" => ("EdDSA", Family::EdDsa),
            _ => return None,
        };
        Some(Algorithm { name, family })
    }
}

impl Jwt {
    pub(super) fn build(def: &JwtAuthenticator, cx: &EvalContext) -> Result<Jwt> {
        let compile = |text: &Text| Template::compile(text, &[]);
        let optional = |text: &Option<Text>| text.as_ref().filter(|t| !is_empty(&t.value)).map(compile).transpose();
        let algorithm = Algorithm::of(&def.algorithm).ok_or_else(|| {
            let at = def.at.field("algorithm", None);
            match def.algorithm.as_str() {
                "ES512" | "ES256K" => at.fault(format!("`algorithm: {}` is not supported", def.algorithm)),
                other => at.fault(format!("`algorithm: {other}` does not exist")),
            }
            .hint("it can be HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA")
        })?;
        let own = def.jwt_headers.as_ref();
        let headers = Parts::build(
            def.additional_jwt_headers.as_ref(),
            &["kid", "alg", "typ", "cty"],
            [
                ("kid", own.and_then(|h| h.kid.as_ref())),
                ("typ", own.and_then(|h| h.typ.as_ref())),
                ("cty", own.and_then(|h| h.cty.as_ref())),
            ],
        )?;
        let own = def.jwt_payload.as_ref();
        let claims = Parts::build(
            def.additional_jwt_payload.as_ref(),
            &["iss", "sub", "aud", "iat", "exp", "nbf"],
            [
                ("iss", own.and_then(|p| p.iss.as_ref())),
                ("sub", own.and_then(|p| p.sub.as_ref())),
                ("aud", own.and_then(|p| p.aud.as_ref())),
            ],
        )?;
        let header = Text { value: json!("Authorization"), at: def.at.clone() };
        Ok(Jwt {
            secret: compile(&def.secret_key)?,
            encode_secret: optional(&def.base64_encode_secret_key)?,
            passphrase: optional(&def.passphrase)?,
            algorithm,
            lives: def.token_duration.unwrap_or(LIVES),
            prefix: optional(&def.header_prefix)?,
            headers,
            claims,
            place: match &def.request_option {
                Some(option) => KeyPlace::Option(Injection::build(option, cx)?),
                None => KeyPlace::Header(compile(&header)?),
            },
            at: def.at.clone(),
        })
    }

    /// Two authenticators that sign the same are one.
    pub(super) fn identity(&self, cx: &EvalContext) -> Option<String> {
        let vars = Vars::new(cx);
        let secret = self.secret.raw_text(&vars).ok()?;
        let optional = |t: &Option<Template>| t.as_ref().map(|t| t.raw_text(&vars)).transpose().ok();
        let more = [optional(&self.encode_secret)?, optional(&self.passphrase)?, optional(&self.prefix)?];
        let parts = [self.headers.eval(&vars).ok()?, self.claims.eval(&vars).ok()?];
        let place = format!("{:?}", self.place);
        Some(python::canonical(&json!([secret, more, self.algorithm.name, self.lives, parts, place])))
    }

    pub(super) fn put(&self, vars: &Vars<'_>, options: &mut RequestOptions) -> Result<String> {
        let token = self.token(vars)?;
        let prefix = self.prefix.as_ref().map(|p| p.text(vars)).transpose()?.filter(|p| !p.is_empty());
        self.place.put(prefix.map_or_else(|| token.clone(), |p| format!("{p} {token}")), vars, options)?;
        Ok(token)
    }

    /// How long a token signed now can be sent without being signed again: after a wait it is signed again.
    pub(super) fn fresh_until(&self, vars: &Vars<'_>) -> OffsetDateTime {
        vars.cx.moment() + Duration::from_millis(500) * u32::try_from(self.lives.min(2)).unwrap_or(2)
    }

    /// A token that is valid from now on.
    pub(super) fn token(&self, vars: &Vars<'_>) -> Result<String> {
        let mut header = self.headers.eval(vars)?;
        if *header.entry("typ").or_insert_with(|| json!("JWT")) == json!("") {
            header.shift_remove("typ");
        }
        header.insert("alg".into(), json!(self.algorithm.name));
        let mut claims = self.claims.eval(vars)?;
        let now = vars.cx.moment().unix_timestamp();
        claims.insert("iat".into(), json!(now));
        claims.insert("exp".into(), json!(now.saturating_add(i64::try_from(self.lives).unwrap_or(i64::MAX))));
        claims.insert("nbf".into(), json!(now));
        // PyJWT sorts the header and keeps the order of the claims.
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let message = format!(
            "{}.{}",
            encode(python::canonical(&Json::Object(header))),
            encode(python::compact(&Json::Object(claims)))
        );
        let signature = self.sign(message.as_bytes(), vars)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, message: &[u8], vars: &Vars<'_>) -> Result<Vec<u8>> {
        let mut secret = self.secret.raw_text(vars)?;
        let passphrase = self.passphrase.as_ref().map(|p| p.raw_text(vars)).transpose()?.filter(|p| !p.is_empty());
        if passphrase.is_none() && self.encode_secret.as_ref().map_or(Ok(false), |e| e.truth(vars))? {
            secret = STANDARD.encode(secret);
        }
        macro_rules! hmac {
            ($hash:ty) => {{
                let mut mac =
                    Hmac::<$hash>::new_from_slice(secret.as_bytes()).map_err(|e| Fault::bug(e.to_string()))?;
                mac.update(message);
                mac.finalize().into_bytes().to_vec()
            }};
        }
        let random = SystemRandom::new();
        let failed = |_| self.bad("the token cannot be signed with this key", "check that the key fits `algorithm`");
        let der = || self.key(&secret, passphrase.as_deref());
        Ok(match self.algorithm.family {
            Family::Hs256 => hmac!(Sha256),
            Family::Hs384 => hmac!(Sha384),
            Family::Hs512 => hmac!(Sha512),
            Family::Rsa(encoding) => {
                let der = der()?;
                let pair = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der));
                let pair =
                    pair.map_err(|e| self.bad(&format!("the key is not an RSA key that can sign: {e}"), FORMS))?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).map_err(failed)?;
                signature
            }
            Family::Ecdsa(algorithm) => {
                let pair = EcdsaKeyPair::from_pkcs8(algorithm, &der()?, &random);
                let pair = pair.map_err(|e| self.bad(&format!("the key is not a key of that curve: {e}"), FORMS))?;
                pair.sign(&random, message).map_err(failed)?.as_ref().to_vec()
            }
            Family::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der()?);
                let pair = pair.map_err(|e| self.bad(&format!("the key is not an Ed25519 key: {e}"), FORMS))?;
                pair.sign(message).as_ref().to_vec()
            }
        })
    }

    /// The bytes of a key in PEM form.
    fn key(&self, pem: &str, passphrase: Option<&str>) -> Result<Vec<u8>> {
        // Forms often replace the line breaks of a key with `\n`.
        let pem = pem.replace("\\n", "\n");
        if let Some(passphrase) = passphrase {
            let (_, key) = pkcs8::SecretDocument::from_pem(pem.trim())
                .map_err(|_| self.bad("the key is not in PEM form", FORMS))?;
            let key = pkcs8::EncryptedPrivateKeyInfoRef::try_from(key.as_bytes())
                .map_err(|_| self.bad("the key is not encrypted in PKCS #8 form", FORMS))?;
            let opened = key.decrypt(passphrase).map_err(|_| self.bad("the passphrase does not open the key", ""))?;
            return Ok(opened.as_bytes().to_vec());
        }
        let (_, key) =
            pkcs8::SecretDocument::from_pem(pem.trim()).map_err(|_| self.bad("the key is not in PEM form", FORMS))?;
        Ok(key.as_bytes().to_vec())
    }

    fn bad(&self, message: &str, hint: &str) -> Fault {
        let fault = Fault::config(message).at(&self.at.field("secret_key", None).location);
        if hint.is_empty() { fault } else { fault.hint(hint) }
    }
}

/// Has a token expired?
pub(super) fn ran_out(token: &str, now: OffsetDateTime) -> bool {
    let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims: Option<Json> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    claims.and_then(|claims| claims["exp"].as_i64()).is_some_and(|end| now.unix_timestamp() >= end)
}

/// The hint for a key in another format.
const FORMS: &str = "it must be a private key in PEM form; `openssl pkcs8 -topk8 -nocrypt -in KEY` converts it";

/// Is it unset in Python's terms?
fn is_empty(value: &Json) -> bool {
    value.is_null() || value.as_str() == Some("") || value.as_bool() == Some(false)
}

impl Parts {
    fn build(
        more: Option<&Text>,
        reserved: &'static [&'static str],
        own: [(&'static str, Option<&Text>); 3],
    ) -> Result<Parts> {
        let added =
            more.into_iter().flat_map(|text| text.value.as_object().into_iter().flatten().map(move |e| (text, e)));
        let added = added.filter(|(_, (key, _))| *key != "$parameters").map(|(text, (key, value))| {
            let at = text.at.field(key, None);
            Ok((Template::of(&json!(key), &at, &[])?, Template::of(value, &at, &[])?))
        });
        let own = own.into_iter().filter_map(|(name, text)| Some((name, text.filter(|t| !is_empty(&t.value))?)));
        Ok(Parts {
            more: added.collect::<Result<_>>()?,
            own: own.map(|(name, text)| Ok((name, Template::compile(text, &[])?))).collect::<Result<_>>()?,
            reserved,
        })
    }

    fn eval(&self, vars: &Vars<'_>) -> Result<Map<String, Json>> {
        let mut out = Map::new();
        for (key, value) in &self.more {
            let name = key.text(vars)?;
            if self.reserved.contains(&name.as_str()) {
                return Err(key.at().fault(format!("the authenticator itself sets `{name}`")));
            }
            if let Some(value) = value.value_if_any(vars, Types::Json)? {
                out.insert(name, value);
            }
        }
        for (name, value) in &self.own {
            // Names are sent as written even if they look like numbers; the others may be lists.
            let value = match *name {
                "kid" | "iss" => json!(value.raw_text(vars)?),
                _ => value.value(vars, Types::Any)?,
            };
            out.insert((*name).to_owned(), value);
        }
        Ok(out)
    }
}
