//! What a handshake showed: versions, expiry, and why a certificate is not believed.
//!
//! Enters: the chain of certificates as the server presented it (hostile bytes; at most [`MAX_CHAIN`] are looked at).
//! Leaves: the time at which the first of them expires, and sentences that say what is wrong and what to do. What is
//! quoted from a certificate is bounded and public.

use rustls::pki_types::CertificateDer;
use rustls::{AlertDescription, CertificateError, Error, ProtocolVersion};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::base::Timestamp;

/// How many certificates of a chain are looked at.
const MAX_CHAIN: usize = 16;

/// How many names of a certificate are quoted.
const MAX_NAMES: usize = 5;

/// The longest name that is quoted, in characters.
const MAX_NAME: usize = 80;

/// What the handshake of a connection showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// `TLS 1.3`; none where it failed before that was known.
    pub version: Option<&'static str>,
    /// When the first certificate of the presented chain expires, in unix seconds.
    pub earliest_expiry: Option<i64>,
}

impl Handshake {
    /// Reads what is to be known of a presented chain.
    pub(super) fn new(version: Option<ProtocolVersion>, chain: &[CertificateDer<'_>]) -> Handshake {
        let version = match version {
            Some(ProtocolVersion::TLSv1_3) => Some("TLS 1.3"),
            Some(ProtocolVersion::TLSv1_2) => Some("TLS 1.2"),
            _ => None,
        };
        let earliest_expiry = parsed(chain).map(|c| c.validity().not_after.timestamp()).min();
        Handshake { version, earliest_expiry }
    }
}

fn parsed<'c>(chain: &'c [CertificateDer<'_>]) -> impl Iterator<Item = X509Certificate<'c>> {
    chain.iter().take(MAX_CHAIN).filter_map(|der| X509Certificate::from_der(der).ok().map(|(_, read)| read))
}

/// Whether a certificate is valid at `now` (unix seconds); with an error as TLS knows it.
pub(super) fn is_current(der: &CertificateDer<'_>, now: i64) -> Result<(), CertificateError> {
    let (_, read) = X509Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)?;
    let (begin, end) = (read.validity().not_before.timestamp(), read.validity().not_after.timestamp());
    match now {
        now if now > end => Err(CertificateError::Expired),
        now if now < begin => Err(CertificateError::NotValidYet),
        _ => Ok(()),
    }
}

/// What went wrong with TLS, and what to do; `chain` is what `host` presented, `now` is in unix seconds.
pub(super) fn words(error: &Error, chain: &[CertificateDer<'_>], host: &str, now: i64) -> String {
    match error {
        Error::InvalidCertificate(why) => of_certificate(why, chain, host, now),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) => "what answers there does not speak TLS".into(),
        Error::PeerIncompatible(why) => {
            format!("no common TLS with this server, which must speak 1.2 or 1.3: {why:?}")
        }
        Error::NoCertificatesPresented => "the server presented no certificate".into(),
        other => other.to_string(),
    }
}

fn of_certificate(why: &CertificateError, chain: &[CertificateDer<'_>], host: &str, now: i64) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => match late(chain, now) {
            Some((name, at)) => format!("the certificate of {name} expired {at}: renew it"),
            None => "a certificate of the chain expired: renew it".into(),
        },
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => match early(chain, now) {
            Some((name, at)) => format!("the certificate of {name} is not valid before {at}: is a clock wrong?"),
            None => "a certificate is not valid yet: is a clock wrong?".into(),
        },
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = parsed(chain).next().map(|c| names(&c)).unwrap_or_default();
            let names = if names.is_empty() { "no name".into() } else { names.join(", ") };
            format!("the certificate is not for {host}, but for {names}")
        }
        _ if is_self_signed(chain) => {
            "the certificate is self-signed and not trusted here: give it as tls.ca, or have an authority sign one".into()
        }
        CertificateError::UnknownIssuer => {
            "the certificate comes from an unknown issuer: give the issuer's as tls.ca, or have the server send its intermediate certificates".into()
        }
        other => format!("the certificate is not accepted: {other}"),
    }
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server demands a client certificate: give it as tls.cert and tls.key".into()
        }
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "no common TLS with this server: 1.2 and 1.3 are spoken here; some servers demand a client certificate this way".into()
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied => format!("the server refuses the client certificate: {alert:?}"),
        AlertDescription::UnrecognisedName => "the server knows no site of this name".into(),
        AlertDescription::NoApplicationProtocol => "the server does not speak HTTP/1.1".into(),
        other => format!("the server ended the handshake: {other:?}"),
    }
}

fn late(chain: &[CertificateDer<'_>], now: i64) -> Option<(String, String)> {
    let found = parsed(chain).find(|c| c.validity().not_after.timestamp() < now)?;
    Some((name(&found), date(found.validity().not_after.timestamp())))
}

fn early(chain: &[CertificateDer<'_>], now: i64) -> Option<(String, String)> {
    let found = parsed(chain).find(|c| c.validity().not_before.timestamp() > now)?;
    Some((name(&found), date(found.validity().not_before.timestamp())))
}

fn is_self_signed(chain: &[CertificateDer<'_>]) -> bool {
    parsed(chain).next().is_some_and(|c| c.issuer().as_raw() == c.subject().as_raw())
}

fn date(seconds: i64) -> String {
    Timestamp(seconds.saturating_mul(1000)).rfc3339().replace(".000Z", "Z")
}

/// Whom a certificate is for: its first name, its common name, its subject.
fn name(certificate: &X509Certificate<'_>) -> String {
    let common = certificate.subject().iter_common_name().next().and_then(|c| c.as_str().ok()).map(cut);
    let first = names(certificate).into_iter().next();
    first.or(common).filter(|n| !n.is_empty()).unwrap_or_else(|| cut(&certificate.subject().to_string()))
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(all)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(cut(name)),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|b| std::net::Ipv6Addr::from(b).to_string()),
        },
        _ => None,
    };
    all.value.general_names.iter().filter_map(text).take(MAX_NAMES).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}
