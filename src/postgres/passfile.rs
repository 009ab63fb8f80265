//! libpq's password file, for our own connections; child processes read it themselves.

use crate::config::Source;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tracing::warn;

/// The password that the file holds for this source and database, by the rules of libpq: first match wins, `*`
/// matches anything, `\` escapes, and a socket folder counts as `localhost`. A file that others may read counts as none.
pub(super) fn find(path: &Path, source: &Source, database: &str) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        warn!("{} is ignored, because others may read it; chmod 600 fixes that", path.display());
        return None;
    }
    let text = std::fs::read_to_string(path).ok()?;
    let host = if source.host.starts_with('/') { "localhost" } else { &source.host };
    let port = source.port.to_string();
    let wanted = [host, &port, database, &source.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = split(line);
        let [pattern @ .., password] = fields.as_slice() else { return None };
        let matches =
            pattern.len() == 4 && pattern.iter().zip(wanted).all(|(field, want)| field == "*" || field == want);
        matches.then(|| password.clone())
    })
}

fn split(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(letters.next())),
            other => fields.last_mut().into_iter().for_each(|field| field.push(other)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn escaped_colons_and_backslashes_belong_to_the_field() {
        assert_eq!(split(r"h\:ost:5432:*:u\\ser:p:a\ss"), ["h:ost", "5432", "*", r"u\ser", "p:ass"]);
    }
}
