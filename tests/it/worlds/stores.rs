//! Stores and file systems that keep fewer promises than most.

use crate::support::backup::Backup;
use crate::support::http::{Act, Front, Seen};
use crate::support::postgres::shared;
use crate::support::{s3, wait_for};
use chrono::Utc;

const LIST: &str = "list-type=2";

fn backup(endpoint: &str) -> Backup {
    let database = shared().database("stores");
    shared().sql(&database, "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n");
    Backup::of(shared(), &database).to("remote", endpoint, &s3::fresh_prefix())
}

fn error(status: u16, code: &str, message: &str) -> Act {
    Act::Answer(status, format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
}

#[test]
fn a_bucket_that_locks_what_it_is_given_is_told_the_checksum_it_asks_for() {
    let front = Front::start(s3::shared().port, |seen, _| match seen.method.as_str() {
        "PUT" if !seen.headers.contains_key("content-md5") => error(
            400,
            "InvalidRequest",
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
        ),
        _ => Act::Forward,
    });
    let backup = backup(&front.url());
    // in one piece, and in parts
    backup.run(&[]).exits(0);
    shared().sql(
        &backup.get("POSTGRES_DB"),
        "CREATE TABLE more AS SELECT n, sha512(n::text::bytea) FROM generate_series(1, 200000) n",
    );
    let before = front.seen().len();
    backup.run(&[]).exits(0);
    let is_refused = |seen: &&Seen| seen.method == "PUT" && !seen.headers.contains_key("content-md5");
    assert_eq!(front.seen()[before..].iter().filter(is_refused).count(), 1, "it is remembered");
    backup.verify(&[], 0);
}

#[test]
fn an_archive_in_cold_storage_says_so_and_stops_no_new_backup() {
    let front = Front::start(s3::shared().port, |seen, _| match seen.method.as_str() {
        "GET" if seen.target.split('?').next().unwrap().ends_with(".sql.gz") => {
            error(403, "InvalidObjectState", "The operation is not valid for the object's storage class")
        }
        _ => Act::Forward,
    });
    let backup = backup(&front.url()).set("REMOTE_STORAGE_CLASS", "DEEP_ARCHIVE");
    backup.run(&[]).exits(0).says("REMOTE_STORAGE_CLASS=DEEP_ARCHIVE");
    for command in [&["verify", "latest"][..], &["restore", "latest", "--into", "thawed"]] {
        let outcome = backup.run(command).exits(74).says("cold storage");
        assert!(!outcome.log.contains("REMOTE_ACCESS_KEY"), "{}", outcome.log);
    }
    backup.run(&[]).exits(0);
    assert_eq!(backup.json(&["list"], 0)["backups"].as_array().unwrap().len(), 2);
}

#[test]
fn whoever_asks_for_a_backup_in_cold_storage_is_offered_the_newest_that_can_be_read() {
    let backup = backup(&s3::shared().endpoint());
    let ids = |backup: &Backup| -> Vec<String> {
        let listed = backup.json(&["list"], 0);
        listed["backups"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    backup.run(&[]).exits(0);
    let readable = ids(&backup).remove(0);
    wait_for("the next second", || readable < format!("backup_{}", Utc::now().format("%Y-%m-%d_%H-%M-%S")));
    backup.run(&[]).exits(0);
    let cold = ids(&backup).remove(0);
    assert_ne!(cold, readable);
    let front = Front::start(s3::shared().port, move |seen, _| match seen.method.as_str() {
        "GET" if seen.target.contains(&format!("{cold}.sql.gz?")) => error(403, "InvalidObjectState", "cold"),
        _ => Act::Forward,
    });
    let frozen = backup.with("REMOTE_ENDPOINT", &front.url());
    let offer = format!("the newest backup that can be read now is {readable}");
    let output = backup.folder.path().join("downloads");
    let download = ["download", "--output", output.to_str().unwrap()];
    for command in [&["verify"][..], &["restore", "--into", "thawed"], &download] {
        frozen.run(command).exits(74).says("cold storage").says(&offer);
    }
}

/// What `check` says of the store.
fn of_the_store(backup: &Backup, exit: i32) -> String {
    let lines = backup.json(&["check"], exit);
    let of_store = lines["checks"].as_array().unwrap().iter().filter(|line| line["check"] == "remote store");
    of_store.map(|line| format!("{}: {}; {}\n", line["verdict"], line["detail"], line["hint"])).collect()
}

#[test]
fn check_sends_a_part_as_large_as_those_of_backups_and_leaves_nothing() {
    for (status, code) in [(413, "EntityTooLarge"), (501, "NotImplemented")] {
        let front = Front::start(s3::shared().port, move |seen, _| match seen.target.contains("uploadId=") {
            true if seen.method == "PUT" => error(status, code, "no parts here"),
            _ => Act::Forward,
        });
        let backup = backup(&front.url());
        let said = of_the_store(&backup, 74);
        assert!(said.contains("it does not accept parts of 16.0 MiB") && said.contains(code), "{said}");
        let prefix = backup.get("REMOTE_PREFIX");
        assert_eq!((s3::shared().keys(&prefix), s3::shared().unfinished(&prefix)), (vec![], vec![]));
    }
    let backup = backup(&s3::shared().endpoint());
    let said = of_the_store(&backup, 0);
    assert!(said.contains("uploaded a part"), "{said}");
    let prefix = backup.get("REMOTE_PREFIX");
    assert_eq!((s3::shared().keys(&prefix), s3::shared().unfinished(&prefix)), (vec![], vec![]));
}

#[test]
fn check_reads_a_listing_of_several_pages() {
    let front = Front::start(s3::shared().port, |seen, _| match seen.target.contains("max-keys=1") {
        // the first page passes for the last one
        true => Act::ForwardAndRewrite(|page| page.replace("<IsTruncated>true", "<IsTruncated>false")),
        false => Act::Forward,
    });
    let said = of_the_store(&backup(&front.url()), 74);
    assert!(said.contains("a listing in several pages returns 1 of 2 objects"), "{said}");
}

#[test]
fn check_tells_what_a_bucket_does_with_what_is_deleted() {
    const RULES: [&str; 4] = [
        "<Error><Code>NoSuchLifecycleConfiguration</Code></Error>",
        "<LifecycleConfiguration><Rule><ID>a</ID><Status>Disabled</Status><Filter/><NoncurrentVersionExpiration>\
         <NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>",
        "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><Prefix>logs/</Prefix></Filter>\
         <NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration></Rule>\
         </LifecycleConfiguration>",
        "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter/><NoncurrentVersionExpiration>\
         <NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration></Rule></LifecycleConfiguration>",
    ];
    let bucket = s3::shared().bucket_with_versions();
    for (number, rules) in RULES.iter().enumerate() {
        let front = Front::start(s3::shared().port, move |seen, _| {
            let asks = |what: &str| seen.target.split(['?', '&']).any(|part| part.trim_end_matches('=') == what);
            if asks("lifecycle") {
                Act::Answer(if number == 0 { 404 } else { 200 }, (*rules).to_owned())
            } else if asks("object-lock") {
                let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                            <DefaultRetention><Mode>COMPLIANCE</Mode><Days>30</Days></DefaultRetention></Rule>\
                            </ObjectLockConfiguration>";
                Act::Answer(200, lock.to_owned())
            } else {
                Act::Forward
            }
        });
        let said = of_the_store(&backup(&front.url()).set("REMOTE_BUCKET", &bucket), 0);
        assert!(said.contains("for the first 30 days, nobody can permanently delete"), "{said}");
        let is_warned_of = said.contains("lifecycle rule that expires noncurrent versions");
        assert_eq!(is_warned_of, number != 3, "{number}: {said}");
        assert_eq!(said.contains("keeps deleted backups for 7 more days"), number == 3, "{said}");
    }
}

/// Rows that make an archive of several parts.
fn backup_of_parts(endpoint: &str) -> Backup {
    let backup = backup(endpoint);
    shared().sql(
        &backup.get("POSTGRES_DB"),
        "CREATE TABLE parts AS SELECT n, sha512(n::text::bytea) FROM generate_series(1, 400000) n",
    );
    backup
}

#[test]
fn a_checksum_of_the_whole_that_is_not_amazons_is_decided_by_what_is_read_back() {
    const SAMPLE: &str = "bytes=0-63";
    let odd_sum = |page: &str| match page.split_once("<ETag>") {
        Some((head, rest)) => {
            let (sum, rest) = rest.split_once("-").unwrap();
            let zeros: String = sum.chars().map(|digit| if digit.is_ascii_hexdigit() { '0' } else { digit }).collect();
            // an entity that stands for a quotation mark has digits in it, too
            let zeros = if sum.starts_with("&#34;") { format!("&#34;{}", &zeros[5..]) } else { zeros };
            format!("{head}<ETag>{zeros}-{rest}")
        }
        None => page.to_owned(),
    };
    for is_garbled in [false, true] {
        let front = Front::start(s3::shared().port, move |seen, _| {
            let is_sample = seen.headers.get("range").is_some_and(|range| range == SAMPLE);
            match (seen.method.as_str(), seen.target.contains("uploadId=")) {
                ("POST", true) => Act::ForwardAndRewrite(odd_sum),
                ("GET", _) if is_sample && is_garbled => Act::ForwardAndGarble,
                ("HEAD", _) => Act::ForwardWithout("etag"),
                _ => Act::Forward,
            }
        });
        let backup = backup_of_parts(&front.url());
        if is_garbled {
            backup.run(&[]).exits(74).says("assembled the parts differently from how they were sent");
            assert_eq!(backup.json(&["list"], 0)["backups"].as_array().unwrap().len(), 0);
        } else {
            let outcome = backup.run(&[]).exits(0).says("the parts that were read back are right");
            assert!(front.seen().iter().any(|seen| seen.headers.get("range").is_some_and(|range| range == SAMPLE)));
            assert_eq!(outcome.log.matches("its checksum").count(), 1, "{}", outcome.log);
            backup.verify(&[], 0);
        }
    }
}

/// A page with its first object alone, which counts the whole bucket and does not say where it goes on.
fn lie(page: &str) -> String {
    let (head, rest) = page.split_once("<KeyCount>").map_or((page, ""), |(head, rest)| (head, rest));
    let page = match rest.split_once("</KeyCount>") {
        Some((_, rest)) => format!("{head}<KeyCount>4711</KeyCount>{rest}"),
        None => page.to_owned(),
    };
    let Some((head, objects)) = page.split_once("<Contents>") else { return page };
    let Some((first, rest)) = objects.split_once("</Contents>") else { return page };
    let end = rest.rfind("</Contents>").map_or(rest, |at| &rest[at + "</Contents>".len()..]);
    let has_more = end.len() < rest.len();
    let page = format!("{head}<Contents>{first}</Contents>{end}");
    if has_more { page.replace("<IsTruncated>false", "<IsTruncated>true") } else { page }
}

#[test]
fn a_listing_that_does_not_say_how_far_it_goes_is_read_to_where_nothing_follows() {
    let front = Front::start(s3::shared().port, |seen, _| match seen.target.contains(LIST) {
        true => Act::ForwardAndRewrite(lie),
        false => Act::Forward,
    });
    let honest = backup(&s3::shared().endpoint());
    honest.run(&[]).exits(0);
    honest.run(&[]).exits(0);
    let lying = honest.with("REMOTE_ENDPOINT", &front.url());
    let names = |backup: &Backup| {
        let listed = backup.json(&["list", "--all"], 0);
        let backups = listed["backups"].as_array().unwrap().iter();
        (backups.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), listed["foreign"].clone())
    };
    assert_eq!(names(&lying), names(&honest));
    lying.run(&["list"]).exits(0).says("reports wrongly where a listing ends");
    lying.with("REMOTE_RETENTION_DAILY", "1").run(&[]).exits(0);
    // a page that was cut tells less than it has, and brings the rest
    let empty = lying.with("REMOTE_PREFIX", "nothing/here/");
    assert_eq!(empty.json(&["list"], 0)["backups"].as_array().unwrap().len(), 0);
}

#[test]
fn a_store_that_wants_the_bucket_in_the_host_is_asked_that_way() {
    let nothing = "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>";
    let front = Front::start(0, move |seen, _| {
        match seen.headers["host"].to_str().unwrap().starts_with("test-backup.localhost") {
            true => Act::Answer(200, nothing.to_owned()),
            false => error(403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access."),
        }
    });
    let endpoint = format!("http://localhost:{}", front.port);
    let backup = backup(&endpoint).set("REMOTE_BUCKET", "test-backup").set("RETRY_DELAY", "100ms");
    let hosts = backup.folder.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost test-backup.localhost\n").unwrap();
    let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let backup = backup.under(&["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    backup.run(&["list"]).exits(0);
    backup.with("REMOTE_ADDRESSING", "virtual").run(&["list"]).exits(0);
    backup.with("REMOTE_ADDRESSING", "path").run(&["list"]).exits(69).says("REMOTE_ADDRESSING");
}

#[test]
fn a_file_system_without_links_or_renames_that_keep_what_is_there_takes_backups() {
    let database = shared().database("folders");
    let backup = Backup::of(shared(), &database).set("RETENTION_DAYS", "0");
    let folder = backup.path();
    std::fs::create_dir_all(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    for (rename, link) in [("EINVAL", "EPERM"), ("ENOSYS", "EOPNOTSUPP"), ("EINVAL", "ENOSYS")] {
        let (rename, link) = (format!("inject=renameat2:error={rename}"), format!("inject=linkat:error={link}"));
        let calls = "trace=renameat2,linkat";
        let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", calls, "-e", &rename, "-e", &link];
        let odd = backup.with("BACKUP_DIR", folder).under(&words);
        odd.run(&[]).exits(0);
        odd.verify(&[], 0);
    }
    let words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-P",
        folder,
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:error=EINVAL",
    ];
    let odd = backup.with("BACKUP_DIR", folder).set("LOCAL_PATH_FORMAT", "flat").under(&words);
    let outcome = odd.run(&[]).exits(0);
    assert_eq!(outcome.log.matches("does not flush folders").count(), 1, "{}", outcome.log);
    assert!(backup.files().iter().all(|name| !name.ends_with(".partial")));
}
