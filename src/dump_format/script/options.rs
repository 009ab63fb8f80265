//! Pure: options of columns that a server keeps for itself and takes from nobody.

/// Servers from the releases of November 2026 on note a column's version among its options, and their own pg_dump leaves it
/// out; one of another major that is older than that writes it, and no server takes it back.
const INTERNAL: &[u8] = b"pg_attver=";

/// `ALTER TABLE ONLY t ALTER COLUMN a SET (pg_attver=1, n_distinct=5);` without what is the server's own, empty where that was
/// all; none for any other statement.
pub(super) fn without_internal_options(statement: &[u8]) -> Option<Vec<u8>> {
    if !statement.starts_with(b"ALTER ") || memchr::memmem::find(statement, INTERNAL).is_none() {
        return None;
    }
    let begin = memchr::memmem::rfind(statement, b" SET (")? + b" SET (".len();
    let end = begin + memchr::memchr(b')', &statement[begin..])?;
    if statement[end..] != *b");" {
        return None;
    }
    let options = statement[begin..end].split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> = options.filter(|option| !option.starts_with(INTERNAL)).collect();
    if kept.is_empty() {
        return Some(Vec::new());
    }
    Some([&statement[..begin], &kept.join(&b", "[..]), &statement[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_servers_own_is_taken_out() {
        let rest = |text: &str| without_internal_options(text.as_bytes()).map(|rest| String::from_utf8(rest).unwrap());
        assert_eq!(rest("ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=22158912);").unwrap(), "");
        assert_eq!(
            rest("ALTER TABLE ONLY public.t ALTER COLUMN a SET (n_distinct=5, pg_attver=22158912);").unwrap(),
            "ALTER TABLE ONLY public.t ALTER COLUMN a SET (n_distinct=5);"
        );
        for other in [
            "ALTER TABLE ONLY public.t ALTER COLUMN a SET (n_distinct=5);",
            "ALTER TABLE t ADD CONSTRAINT c CHECK ((x <> ' SET (pg_attver=1);'::text));",
            "COMMENT ON TABLE t IS ' SET (pg_attver=1);';",
        ] {
            assert_eq!(rest(other), None, "{other}");
        }
    }
}
