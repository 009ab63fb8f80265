//! Pages of listings, before the library reads them: it takes any XML for a listing, and one name that it cannot hold for
//! the end of all.

use bytes::Bytes;
use object_store::path::Path;

/// The root of a page, an entry in it, and the entry's name.
const FORMS: [(&str, &str, &str); 2] =
    [("ListBucketResult", "Contents", "Key"), ("EnumerationResults", "Blob", "Name")];

/// Makes sure that this is a whole page, and leaves out entries whose names cannot be ours: empty parts, `.` and `..`.
pub(super) fn check(page: &Bytes) -> Result<Bytes, String> {
    let text = std::str::from_utf8(page).map_err(|_| "the store's answer is not text".to_owned())?;
    let is_page = |(root, ..): &&(&str, &str, &str)| {
        text.contains(&format!("<{root}")) && text.trim_end().ends_with(&format!("</{root}>"))
    };
    let Some((_, entry, name)) = FORMS.iter().find(is_page) else {
        return Err("the store's answer is not a complete listing".to_owned());
    };
    if text.contains("<IsTruncated>true<") && !text.contains("<NextContinuationToken>") {
        return Err("the store says that there is more, but not where to continue".to_owned());
    }
    let (open, close) = (format!("<{entry}>"), format!("</{entry}>"));
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, from)) = rest.split_once(&open) {
        let Some((inside, after)) = from.split_once(&close) else { break };
        kept.push_str(before);
        if can_be_named(inside, name) {
            kept.push_str(&open);
            kept.push_str(inside);
            kept.push_str(&close);
        }
        rest = after;
    }
    kept.push_str(rest);
    Ok(kept.into())
}

fn can_be_named(entry: &str, name: &str) -> bool {
    let key = entry.split_once(&format!("<{name}>")).and_then(|(_, from)| from.split_once(&format!("</{name}>")));
    key.is_none_or(|(key, _)| Path::parse(key).is_ok() && !key.contains("&#"))
}

#[cfg(test)]
mod tests {
    use super::check;
    use bytes::Bytes;

    #[test]
    fn a_page_is_whole_or_none_and_names_that_are_not_ours_are_left_out() {
        let page =
            |inside: &str| Bytes::from(format!("<?xml version=\"1.0\"?><ListBucketResult>{inside}</ListBucketResult>"));
        let one = "<Contents><Key>a/b%20c.json</Key><Size>1</Size></Contents>";
        let odd = "<Contents><Key>a//b</Key></Contents><Contents><Key>a/../b</Key></Contents>";
        assert_eq!(check(&page(one)).unwrap(), page(one));
        assert_eq!(check(&page(&format!("{odd}{one}{odd}"))).unwrap(), page(one));
        assert_eq!(check(&page("")).unwrap(), page(""));
        for broken in [
            page("<IsTruncated>true</IsTruncated>"),
            page(one).slice(..40),
            Bytes::from_static(b"<html><body>Log in</body></html>"),
            Bytes::from_static(b"<Error><Code>SlowDown</Code></Error>"),
            Bytes::new(),
        ] {
            assert!(check(&broken).is_err(), "{broken:?}");
        }
    }
}
