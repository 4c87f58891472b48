//! TLS settings: whom to trust beside the machine's own store, and the certificate that the client shows.
//!
//! Input: the `tls` object of a config. Output: ureq's TLS config, or a fault that names the key of the config. Called
//! by [`super`], once for each run.

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use super::unusable;
use crate::base::config::Tls;
use crate::base::fault::{Fault, Result};

/// The largest CA file, in bytes.
const LARGEST: u64 = 16 << 20;
/// With what PEM blocks begin.
const PEM: &str = "-----BEGIN ";

/// ureq's TLS config.
pub(super) fn config(tls: &Tls) -> Result<TlsConfig> {
    let roots = match &tls.ca_file {
        Some(file) => RootCerts::from(authorities(file)?),
        None => RootCerts::PlatformVerifier,
    };
    Ok(TlsConfig::builder().root_certs(roots).client_cert(client(tls)?).build())
}

/// The certificates of the machine's store, and those of the file.
fn authorities(file: &str) -> Result<Vec<Certificate<'static>>> {
    const KEY: &str = "config `dripfeed.tls.ca_file`";
    let hint = "it must name a file of CA certificates in PEM";
    let pem = if file.contains(PEM) {
        file.as_bytes().to_vec()
    } else {
        let found = std::fs::metadata(file).map(|of| of.is_file() && of.len() <= LARGEST);
        let read = match found {
            Ok(true) => std::fs::read(file),
            Ok(false) => return Err(unusable(KEY, &format!("names {file}, which is no file of certificates"), hint)),
            Err(error) => Err(error),
        };
        read.map_err(|e| unusable(KEY, &format!("names {file}, which cannot be read: {e}"), hint))?
    };
    let extra = certificates(&pem).ok().filter(|found| !found.is_empty());
    let extra = extra.ok_or_else(|| unusable(KEY, "contains no certificate", hint))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in &extra {
        roots
            .add(CertificateDer::from(certificate.der().to_vec()))
            .map_err(|e| unusable(KEY, &format!("contains a certificate that cannot be used: {e}"), hint))?;
    }
    let own = rustls_native_certs::load_native_certs().certs;
    Ok(own.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).chain(extra).collect())
}

fn certificates(pem: &[u8]) -> std::result::Result<Vec<Certificate<'static>>, ureq::Error> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item? {
            found.push(certificate);
        }
    }
    Ok(found)
}

/// The certificate that the client shows.
fn client(tls: &Tls) -> Result<Option<ClientCert>> {
    const CERT: &str = "config `dripfeed.tls.client_cert`";
    const KEY: &str = "config `dripfeed.tls.client_key`";
    let hint = "write file:PATH, where the file holds PEM";
    let Some(chain) = &tls.client_cert else {
        return match tls.client_key {
            Some(_) => Err(unusable(KEY, "is set without `dripfeed.tls.client_cert`", hint)),
            None => Ok(None),
        };
    };
    let certs = certificates(chain.as_bytes()).ok().filter(|certs| !certs.is_empty());
    let certs = certs.ok_or_else(|| unusable(CERT, "contains no certificate in PEM", hint))?;
    // A file may contain both.
    let (name, text) = tls.client_key.as_ref().map_or((CERT, chain), |key| (KEY, key));
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        let hint = "decrypt it where it is kept: exec:openssl pkey -in FILE -passin env:NAME";
        return Err(unusable(name, "contains a private key that is encrypted with a password", hint));
    }
    let no_key = || unusable(name, "contains no private key in PEM", hint);
    let key = PrivateKey::from_pem(text.as_bytes()).map_err(|_| no_key())?;
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| no_key())?;
    let chain = certs.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    // ureq takes a certificate that belongs to another key for a bug of its caller.
    CertifiedKey::from_der(chain, der, &default_provider()).map_err(|error| refused(name, &error))?;
    Ok(Some(ClientCert::new_with_certs(&certs, key)))
}

/// The fault of a key that cannot be used with the certificate.
fn refused(name: &str, error: &rustls::Error) -> Fault {
    match error {
        rustls::Error::InconsistentKeys(_) => unusable(
            name,
            "contains a private key that does not belong to the certificate",
            "the first certificate of client_cert must be the client's own",
        ),
        other => unusable(
            name,
            &format!("cannot be used: {other}"),
            "the key must be RSA, ECDSA or Ed25519, as PKCS#8, PKCS#1 or SEC1",
        ),
    }
}
