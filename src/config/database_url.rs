//! `DATABASE_URL`, read as libpq reads it: by its own rules, which are not those of the web. A password may hold `?` and
//! `#`, `+` is itself, and a host may be a folder.
//!
//! Errors say what is wrong and never show any of the text: where a character is missing, any part of it may be that of
//! the password.

use percent_encoding::percent_decode_str;

/// How a URL looks, for messages.
pub(super) const FORM: &str = "postgres://user:password@host:port/database?sslmode=…";

/// Settings that a URL gives, with their values.
pub(super) type UrlParts = Vec<(&'static str, String)>;

/// What each parameter behind the `?` sets.
const PARAMETERS: &[(&str, &str)] = &[
    ("host", "POSTGRES_HOST"),
    ("port", "POSTGRES_PORT"),
    ("user", "POSTGRES_USER"),
    ("password", "POSTGRES_PASSWORD"),
    ("dbname", "POSTGRES_DB"),
    ("sslmode", "POSTGRES_SSLMODE"),
    ("sslrootcert", "POSTGRES_SSLROOTCERT"),
    ("sslcert", "POSTGRES_SSLCERT"),
    ("sslkey", "POSTGRES_SSLKEY"),
];

/// Reads a URL; the error says what is allowed.
pub(super) fn parse(text: &str) -> Result<UrlParts, String> {
    let rest = text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"));
    let rest = rest.ok_or_else(|| FORM.to_owned())?;
    let (credentials, rest) = match rest.find(['@', '/']) {
        Some(at) if rest[at..].starts_with('@') => (Some(&rest[..at]), &rest[at + 1..]),
        _ => (None, rest),
    };
    let mut parts = UrlParts::new();
    if let Some(credentials) = credentials {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        set(&mut parts, "POSTGRES_USER", decode(user)?);
        set(&mut parts, "POSTGRES_PASSWORD", decode(password)?);
    }
    let (server, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    if server.contains('@') {
        return Err(format!("{FORM}, with @ as %40 and / as %2F within user, password and database"));
    }
    let (server, database) = server.split_once('/').unwrap_or((server, ""));
    let (host, port) = host_and_port(server)?;
    set(&mut parts, "POSTGRES_HOST", decode(host)?);
    set(&mut parts, "POSTGRES_PORT", decode(port)?);
    set(&mut parts, "POSTGRES_DB", decode(database)?);
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(format!("{FORM}, each parameter as name=value"))?;
        if value.contains('=') {
            return Err(format!("{FORM}, with = as %3D within values"));
        }
        let (setting, value) = match (decode(name)?.as_str(), decode(value)?) {
            // as JDBC has it
            ("ssl", value) if value == "true" => ("POSTGRES_SSLMODE", "require".to_owned()),
            (name, value) => match PARAMETERS.iter().find(|(known, _)| *known == name) {
                Some((_, setting)) => (*setting, value),
                None => return Err(unknown_parameter(name)),
            },
        };
        parts.retain(|(part, _)| *part != setting);
        set(&mut parts, setting, value);
    }
    Ok(parts)
}

fn set(parts: &mut UrlParts, setting: &'static str, value: String) {
    // empty means unset
    if !value.is_empty() {
        parts.push((setting, value));
    }
}

fn host_and_port(server: &str) -> Result<(&str, &str), String> {
    if server.contains(',') {
        return Err(format!("{FORM}, with one host"));
    }
    let Some(inner) = server.strip_prefix('[') else { return Ok(server.split_once(':').unwrap_or((server, ""))) };
    match inner.split_once(']') {
        Some((address, "")) if !address.is_empty() => Ok((address, "")),
        Some((address, rest)) if !address.is_empty() && rest.starts_with(':') => Ok((address, &rest[1..])),
        _ => Err(format!("{FORM}, with an IPv6 address between [ and ]")),
    }
}

/// The text between two marks, its escapes resolved.
fn decode(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let is_escape =
        |at: usize| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let is_whole = text.match_indices('%').all(|(at, _)| is_escape(at)) && !text.contains("%00");
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|_| is_whole);
    decoded.map(std::borrow::Cow::into_owned).ok_or(format!("{FORM}, with % only before two hexadecimal digits"))
}

/// A name that is none of libpq's is not shown: it may be the rest of something else.
fn unknown_parameter(name: &str) -> String {
    const OF_LIBPQ: &[&str] = &[
        "application_name",
        "channel_binding",
        "client_encoding",
        "connect_timeout",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "gsslib",
        "hostaddr",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "options",
        "passfile",
        "replication",
        "require_auth",
        "requirepeer",
        "requiressl",
        "service",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcertmode",
        "sslcompression",
        "sslcrl",
        "sslcrldir",
        "sslkeylogfile",
        "sslnegotiation",
        "sslpassword",
        "sslsni",
        "target_session_attrs",
        "tcp_user_timeout",
    ];
    let known: Vec<&str> = PARAMETERS.iter().map(|(name, _)| *name).collect();
    match OF_LIBPQ.contains(&name) {
        true => format!("{FORM}; the parameter `{name}` is not supported, remove it"),
        false => format!("{FORM}, and of parameters only {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(&'static str, String)> {
        parse(text).unwrap().into_iter().map(|(name, value)| (name.trim_start_matches("POSTGRES_"), value)).collect()
    }

    #[test]
    fn a_url_is_read_by_the_rules_of_libpq() {
        let pairs = |pairs: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
            pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        for (text, expected) in [
            ("postgres://", vec![]),
            ("postgresql:///my#db", pairs(&[("DB", "my#db")])),
            ("postgres://u:12?s#c@db/x", pairs(&[("USER", "u"), ("PASSWORD", "12?s#c"), ("HOST", "db"), ("DB", "x")])),
            ("postgres://u:a:b@db", pairs(&[("USER", "u"), ("PASSWORD", "a:b"), ("HOST", "db")])),
            ("postgres://db?password=a+b", pairs(&[("HOST", "db"), ("PASSWORD", "a+b")])),
            (
                "postgres://u:p@/d?host=/socket",
                pairs(&[("USER", "u"), ("PASSWORD", "p"), ("DB", "d"), ("HOST", "/socket")]),
            ),
            ("postgres://%2Fsocket:5/d", pairs(&[("HOST", "/socket"), ("PORT", "5"), ("DB", "d")])),
            ("postgres://[::1]:5/d", pairs(&[("HOST", "::1"), ("PORT", "5"), ("DB", "d")])),
            ("postgres://h?ssl=true", pairs(&[("HOST", "h"), ("SSLMODE", "require")])),
            ("postgres://h:5?port=6&port=7", pairs(&[("HOST", "h"), ("PORT", "7")])),
            ("postgres://u%40x@h/a%20b", pairs(&[("USER", "u@x"), ("HOST", "h"), ("DB", "a b")])),
            ("postgres://@h", pairs(&[("HOST", "h")])),
            ("postgres://h:", pairs(&[("HOST", "h")])),
            ("postgres://h/d?", pairs(&[("HOST", "h"), ("DB", "d")])),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn no_error_shows_any_of_the_text() {
        for text in [
            "s3cr3t",
            "http://u:s3cr3t@db/x",
            "postgres://u:p/s3cr3t@db/x",
            "postgres://u:p@s3cr3t@db/x",
            "postgres://u:p%s3cr3t@db/x",
            "postgres://u:%00s3cr3t@db/x",
            "postgres://[s3cr3t/x",
            "postgres://[]:s3cr3t/x",
            "postgres://db/x?s3cr3t",
            "postgres://db/x?s3cr3t=1",
            "postgres://db/x?password=s3cr3t=1",
            "postgres://a,s3cr3t/x",
        ] {
            let error = parse(text).unwrap_err();
            assert!(!error.contains("s3cr3t"), "{text}: {error}");
        }
    }
}
