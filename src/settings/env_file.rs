//! `.env` in the dialect that `docker --env-file` and `kubectl --from-env-file` share.
//!
//! One `NAME=value` a line, the value taken literally to the end of the line: no quotes, no escapes, no comments
//! behind a value, no expansion. Blank lines and lines that begin with `#` are passed over.

/// The assignments of a file's text, in order, or what is wrong with it, line by line.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, Vec<String>> {
    let mut assignments = Vec::new();
    let mut problems = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let number = index + 1;
        match line.split_once('=') {
            Some((name, value)) if is_name(name) => assignments.push((name.to_owned(), value.to_owned())),
            Some((name, _)) => problems.push(format!("line {number}: `{name}` is not a variable name")),
            None => problems.push(format!("line {number} is not NAME=value")),
        }
    }
    if problems.is_empty() { Ok(assignments) } else { Err(problems) }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_literally() {
        let text = "# comment\n\nA=1\n  B=two words # not a comment\nC=\"quoted\"\nD=\nE=x=y\r\n";
        let expected = [("A", "1"), ("B", "two words # not a comment"), ("C", "\"quoted\""), ("D", ""), ("E", "x=y")];
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn every_bad_line_is_named_without_its_value() {
        let problems = parse("ok=1\nexport X=secret\nnonsense\n").unwrap_err();
        assert_eq!(problems, ["line 2: `export X` is not a variable name", "line 3 is not NAME=value"]);
    }
}
