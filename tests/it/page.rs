//! The daemon's page in a real browser: light and dark, on a phone and on a desk, with few databases and with many.

use crate::support;

use std::path::PathBuf;
use support::backup::Backup;
use support::browser::Browser;
use support::daemon::Daemon;
use support::tool;

const OVERFLOW: &str = "return document.documentElement.scrollWidth - window.innerWidth";

/// Asserts that the page fits and can be read, in both colours and at these widths.
#[track_caller]
fn assert_readable(browser: &Browser, widths: &[u32]) {
    for dark in [true, false] {
        for width in widths {
            browser.show(*width, 844, dark);
            let excess = browser.run(OVERFLOW).as_i64().unwrap();
            assert!(excess <= 0, "at {width} pixels the page is {excess} too wide");
            let contrast = browser.run(CONTRAST);
            assert!(contrast["least"].as_f64().unwrap() >= 4.5, "{contrast} (dark: {dark})");
        }
    }
}

#[test]
fn the_page_is_readable_in_a_browser_light_and_dark_and_on_a_phone() {
    let names = ["shop", "crm", "an_old_one"];
    let postgres = support::postgres::Postgres::start(&tool("PG_BIN"));
    for name in names {
        postgres.sql("postgres", &format!("CREATE DATABASE {name}"));
        postgres.sql(name, "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 20000) AS n");
    }
    let odd = "<b>odd</b> & long_name_without_any_place_to_break_it_somewhere";
    postgres.sql("postgres", &format!("CREATE DATABASE \"{odd}\""));
    let backup = Backup::of(&postgres, "postgres")
        .set("BACKUP_DATABASES", "all")
        .set("BACKUP_SOURCE", "shop-db:5432")
        .set("BACKUP_TYPE", "daily")
        .set("BACKUP_RETENTION_DAILY", "0");
    backup.run(&["run", "--database", "an_old_one"]).exits(0);
    backup.make_older(1);
    for round in 0..6 {
        backup.run(&["run", "--database", "shop", "--database", "crm", "--database", "postgres"]).exits(0);
        backup.make_older(1);
        postgres.sql("shop", &format!("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, {round}000) AS n"));
    }
    backup
        .run(&["run", "--database", "shop", "--database", "crm", "--database", "postgres", "--database", odd])
        .exits(0);
    backup.verify(&["--database", "shop"], 0);
    // once a year, so that no missed run saves the old one before the page is opened
    let in_five_hours = (chrono::Utc::now() + chrono::TimeDelta::hours(5)).format("0 %H %-d %-m *").to_string();
    let schedule = backup.with("SCHEDULE_DAILY", &in_five_hours).with("SCHEDULE_WEEKLY", "off");
    let daemon = Daemon::start(&schedule, &["--max-age", "25h"]);

    let browser = Browser::start();
    browser.show(1100, 900, false);
    browser.open(&daemon.at("/"));
    // the policy allows the page its style and nothing else, and the page asks for nothing else
    assert_eq!(browser.complaints(), serde_json::json!([]));
    assert_eq!(browser.run("return performance.getEntriesByType('resource').length"), 0);
    let cards = browser.run("return [...document.querySelectorAll('article h2')].map(h => h.textContent)");
    let cards: Vec<&str> = cards.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    // problems first
    assert_eq!(cards.len(), 6, "{cards:?}");
    assert_eq!(cards[0], "an_old_one", "{cards:?}, {}", daemon.log());
    assert!(cards.contains(&odd), "{cards:?}");
    let problems = browser.run("return [...document.querySelectorAll('.problems li.bad')].map(li => li.textContent)");
    assert!(problems[0].as_str().unwrap().contains("an_old_one: the newest good backup is"), "{problems:#}");
    assert_eq!(browser.run("return document.querySelectorAll('article svg').length"), 12);
    assert_eq!(
        browser.run("return document.querySelectorAll('[aria-label=\"Size of the latest 7 backups\"] path').length"),
        28
    );

    let ground = || browser.run("return getComputedStyle(document.body).backgroundColor").as_str().unwrap().to_owned();
    let light = ground();
    assert_eq!(browser.run(OVERFLOW), 0);
    write_picture("status-page.png", &browser);
    browser.show(1100, 900, true);
    let dark = ground();
    assert_ne!(light, dark);
    assert_readable(&browser, &[1280, 800, 390, 320]);
    browser.show(390, 844, true);
    write_picture("status-page-phone.png", &browser);
    let size = browser.run("return parseFloat(getComputedStyle(document.querySelector('dd')).fontSize)");
    assert!(size.as_f64().unwrap() >= 14.0, "{size}");
}

#[test]
fn many_databases_are_one_table_that_a_form_filters_without_a_script() {
    let postgres = support::postgres::Postgres::start(&tool("PG_BIN"));
    let names = ["shop", "shop_archive", "crm", "ledger", "billing", "events", "users", "search", "mail", "reports"];
    for (number, name) in names.iter().enumerate() {
        postgres.sql("postgres", &format!("CREATE DATABASE {name}"));
        let rows = (number + 1) * 500;
        postgres.sql(name, &format!("CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, {rows}) AS n"));
    }
    let backup = Backup::of(&postgres, "postgres")
        .set("BACKUP_DATABASES", "all")
        .set("BACKUP_SOURCE", "shop-db:5432")
        .set("BACKUP_TYPE", "daily");
    for name in names.iter().take(2) {
        backup.run(&["run", "--database", name]).exits(0);
    }
    backup.make_older(2);
    let all_but_one = names.iter().filter(|name| **name != "shop_archive").flat_map(|name| ["--database", name]);
    let arguments: Vec<&str> = ["run"].into_iter().chain(all_but_one).collect();
    backup.run(&arguments).exits(0);
    backup.verify(&["--database", "shop"], 0);
    let daemon = Daemon::start(&backup.with("BACKUP_SCHEDULE", "0 0 29 2 *"), &["--max-age", "25h"]);

    let browser = Browser::start();
    browser.show(1280, 900, false);
    browser.open(&daemon.at("/"));
    let count = |what: &str| browser.run(&format!("return document.querySelectorAll('{what}').length"));
    // one is too old; the others, and the globals, stand in the table
    assert_eq!((count("article"), count("tbody tr")), (1.into(), 10.into()));
    let row = browser.run(
        "return [...document.querySelectorAll('tbody tr')].map(tr => tr.innerText).find(t => t.startsWith('shop'))",
    );
    assert!(row.as_str().unwrap().contains("old"), "{row}");
    assert_readable(&browser, &[1280, 800, 390, 320]);
    browser.show(1280, 900, false);
    browser.run("document.querySelector('#filter').value = 'shop'; document.querySelector('.filter button').click()");
    support::wait_for("the filtered page", || count("article") == 2 && count("table") == 0);
    assert_eq!(browser.run("return location.search"), "?filter=shop");
    assert_readable(&browser, &[390]);
    browser.run("[...document.querySelectorAll('.filter a')].pop().click()");
    support::wait_for("the whole page", || count("tbody tr") == 10);
    browser.run("document.querySelector('tbody a').click()");
    support::wait_for("one card", || count("article") == 1);
    assert_eq!(browser.complaints(), serde_json::json!([]));
}

/// The least contrast of a text with what is behind it, as WCAG 2 counts it.
const CONTRAST: &str = "
    const channels = text => text.match(/[0-9.]+/g).map(Number);
    const luminance = text => {
        const [r, g, b] = channels(text).map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = node => {
        for (let at = node; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            const parts = channels(colour);
            if (parts.length < 4 || parts[3] > 0) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    let least = 99, where = '';
    for (const node of document.querySelectorAll('h1, h2, p, li, dt, dd, th, td, span, a, label, button, footer, figcaption')) {
        if (!node.textContent.trim()) continue;
        const [a, b] = [luminance(getComputedStyle(node).color), luminance(ground(node))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < least) [least, where] = [contrast, node.outerHTML.slice(0, 80)];
    }
    return { least, where };";

/// Keeps a picture for the documents where that is asked for.
fn write_picture(name: &str, browser: &Browser) {
    let picture = browser.picture();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name), picture).unwrap();
    }
}
