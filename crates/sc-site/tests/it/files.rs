//! Static files: what is found, what is refused, conditions, ranges, edits while serving.

use std::os::unix::fs::{PermissionsExt, symlink};

use http::Method;
use sc_site::{Disclosure, Handler};

use crate::kit::{Ask, files, folder, run, serve, settle, spec, write};

#[test]
fn files_are_served_with_their_type_and_validators() {
    run(async {
        let folder = folder(&[
            ("index.html", b"<h1>hi</h1>"),
            ("a/style.css", b"a{}"),
            ("b.bin", &[0, 1, 2]),
        ]);
        let site = files(folder.path());
        let told = Ask::get("/").of(&site).await;
        assert_eq!((told.status.as_u16(), told.text().as_str()), (200, "<h1>hi</h1>"));
        assert_eq!(told.field("content-type"), "text/html; charset=utf-8");
        assert_eq!(told.field("content-length"), "11");
        assert_eq!(told.field("accept-ranges"), "bytes");
        assert_eq!(told.field("cache-control"), "no-cache");
        assert!(told.field("etag").starts_with('"') && told.field("last-modified").ends_with("GMT"));
        assert_eq!(
            (told.notes.handler(), told.notes.site().as_deref()),
            (Handler::File, Some("www.shop.example"))
        );
        let told = Ask::get("/a/style.css?v=1").of(&site).await;
        assert_eq!(
            (told.field("content-type"), told.text().as_str()),
            ("text/css; charset=utf-8", "a{}")
        );
        let told = Ask::get("/b.bin").of(&site).await;
        assert_eq!(
            (told.field("content-type"), told.has("vary")),
            ("application/octet-stream", false)
        );
        let told = Ask::head("/a/style.css").of(&site).await;
        assert_eq!((told.status.as_u16(), told.field("content-length")), (200, "3"));
        let public = serve(vec![spec(Some(folder.path()), None)], Disclosure::Public);
        assert!(!Ask::get("/").of(&public).await.has("cache-control"));
    });
}

#[test]
fn nothing_outside_the_root_or_hidden_is_served() {
    run(async {
        let outside = folder(&[("secret.txt", b"secret"), ("deep/secret.txt", b"secret")]);
        let root = folder(&[
            ("ok.txt", b"ok"),
            ("a b/\u{e9}.txt", b"accent"),
            (".env", b"secret"),
            (".git/config", b"secret"),
            ("a/.hidden/x.txt", b"secret"),
            (".well-known/acme", b"known"),
            ("index.html/", b""),
            ("%61.txt", b"literal"),
        ]);
        let at = |path: &str| root.path().join(path);
        symlink("ok.txt", at("in.txt")).unwrap();
        symlink("a b", at("folder-in")).unwrap();
        symlink(outside.path().join("secret.txt"), at("out.txt")).unwrap();
        symlink(outside.path(), at("folder-out")).unwrap();
        symlink(
            format!(
                "../{}/secret.txt",
                outside.path().file_name().unwrap().to_str().unwrap()
            ),
            at("out-relative.txt"),
        )
        .unwrap();
        symlink("loop-b", at("loop-a")).unwrap();
        symlink("loop-a", at("loop-b")).unwrap();
        symlink("/proc/self/root/etc/passwd", at("magic")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
        let site = files(root.path());
        let long = format!("/{}", "x".repeat(300));
        let longer = format!("/{}", "x/".repeat(3000));
        let up = outside.path().file_name().unwrap().to_str().unwrap().to_owned();
        let found = [
            "/ok.txt",
            "/in.txt",
            "/a%20b/%C3%A9.txt",
            "/folder-in/%c3%a9.txt",
            "/.well-known/acme",
            "/%2561.txt",
            "/%6fk.txt",
        ];
        for path in found {
            assert_eq!(Ask::get(path).of(&site).await.status.as_u16(), 200, "{path}");
        }
        let refused = [
            "/out.txt",
            "/out-relative.txt",
            "/folder-out/secret.txt",
            "/folder-out/",
            "/folder-out/deep/secret.txt",
            "/loop-a",
            "/magic",
            "/pipe",
            "/.env",
            "/.git/config",
            "/.git/",
            "/%2egit/config",
            "/a/.hidden/x.txt",
            "/../ok.txt",
            "/%2e%2e/ok.txt",
            "/a%20b/../ok.txt",
            "/a/%2e%2e/%2e%2e/ok.txt",
            "/..%2fok.txt",
            "/a%2fb",
            "/ok.txt%00",
            "/ok.txt%00.html",
            "/..\\ok.txt",
            "/..%5cok.txt",
            "//ok.txt",
            "/a//b",
            "/./ok.txt",
            "/ok.txt/",
            "/%zz",
            "/%",
            "/index.html",
            "/",
            "/missing",
            "/a",
            &long,
            &longer,
            "*",
        ];
        let sneaky = [
            format!("/../{up}/secret.txt"),
            format!("/%2e%2e/{up}/secret.txt"),
            format!("/..%2f{up}%2fsecret.txt"),
        ];
        for path in refused.iter().copied().chain(sneaky.iter().map(String::as_str)) {
            let told = Ask::get(path).of(&site).await;
            assert_eq!(told.status.as_u16(), 404, "{path}");
            assert!(
                !told.body.windows(6).any(|w| w == b"secret") || path.contains("secret"),
                "{path}: {}",
                told.text()
            );
        }
    });
}

#[test]
fn an_unreadable_file_is_forbidden() {
    run(async {
        let folder = folder(&[("closed.txt", b"x")]);
        let path = folder.path().join("closed.txt");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
        if std::fs::read(&path).is_ok() {
            // Root reads everything: nothing to see here.
            return;
        }
        assert_eq!(
            Ask::get("/closed.txt").of(&files(folder.path())).await.status.as_u16(),
            403
        );
    });
}

#[test]
fn folders_lead_to_their_index_with_a_slash() {
    run(async {
        let folder = folder(&[
            ("docs/index.html", b"docs"),
            ("empty/", b""),
            ("docs/a b/index.html", b"ab"),
        ]);
        let site = files(folder.path());
        assert_eq!(Ask::get("/docs/").of(&site).await.text(), "docs");
        let told = Ask::get("/docs?x=1&y=2").of(&site).await;
        assert_eq!((told.status.as_u16(), told.field("location")), (302, "/docs/?x=1&y=2"));
        assert_eq!(told.notes.handler(), Handler::Redirect);
        let told = Ask::get("/docs/a%20b").of(&site).await;
        assert_eq!((told.status.as_u16(), told.field("location")), (302, "/docs/a%20b/"));
        for path in ["/empty", "/empty/", "//docs", "//evil.example/docs"] {
            let told = Ask::get(path).of(&site).await;
            assert_eq!((told.status.as_u16(), told.has("location")), (404, false), "{path}");
        }
        let public = serve(vec![spec(Some(folder.path()), None)], Disclosure::Public);
        assert_eq!(Ask::get("/docs").of(&public).await.status.as_u16(), 301);
    });
}

#[test]
fn only_reading_methods_are_allowed() {
    run(async {
        let folder = folder(&[("a.txt", b"a")]);
        let site = files(folder.path());
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::TRACE] {
            let told = Ask::new(method, "/a.txt").of(&site).await;
            assert_eq!((told.status.as_u16(), told.field("allow")), (405, "GET, HEAD, OPTIONS"));
        }
        for target in ["/a.txt", "*"] {
            let told = Ask::new(Method::OPTIONS, target).of(&site).await;
            assert_eq!(
                (told.status.as_u16(), told.field("allow"), told.body.len()),
                (204, "GET, HEAD, OPTIONS", 0)
            );
        }
        assert_eq!(Ask::new(Method::POST, "/missing").of(&site).await.status.as_u16(), 404);
    });
}

#[test]
fn conditions_are_kept() {
    run(async {
        let folder = folder(&[("a.txt", b"0123456789")]);
        settle(folder.path(), "a.txt");
        let site = files(folder.path());
        let first = Ask::get("/a.txt").of(&site).await;
        let (etag, date) = (first.field("etag").to_owned(), first.field("last-modified").to_owned());
        let check = async |name: &str, value: &str, expected: u16| {
            let told = Ask::get("/a.txt").field(name, value).of(&site).await;
            assert_eq!(told.status.as_u16(), expected, "{name}: {value}");
            if expected == 304 {
                assert_eq!(
                    (told.field("etag"), told.body.len(), told.has("content-type")),
                    (etag.as_str(), 0, false)
                );
            }
        };
        check("if-none-match", &etag, 304).await;
        check("if-none-match", &format!("\"x\", {etag}"), 304).await;
        check("if-none-match", &format!("W/{etag}"), 304).await;
        check("if-none-match", "*", 304).await;
        check("if-none-match", "\"x\"", 200).await;
        check("if-modified-since", &date, 304).await;
        check("if-modified-since", "Mon, 01 Jan 2001 00:00:00 GMT", 200).await;
        check("if-unmodified-since", "Mon, 01 Jan 2001 00:00:00 GMT", 412).await;
        check("if-match", "\"x\"", 412).await;
        check("if-match", &etag, 200).await;
        let told = Ask::head("/a.txt").field("if-none-match", &etag).of(&site).await;
        assert_eq!(told.status.as_u16(), 304);
    });
}

#[test]
fn ranges_are_cut_exactly() {
    run(async {
        let large: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let folder = folder(&[("small.bin", &large[..1000]), ("large.bin", &large)]);
        let site = files(folder.path());
        for (path, size) in [("/small.bin", 1000usize), ("/large.bin", 200_000)] {
            let check = async |range: &str, from: usize, to: usize| {
                let told = Ask::get(path).field("range", range).of(&site).await;
                assert_eq!(told.status.as_u16(), 206, "{range}");
                assert_eq!(told.field("content-range"), format!("bytes {from}-{}/{size}", to - 1));
                assert_eq!(told.field("content-length"), (to - from).to_string());
                assert!(told.body == large[from..to], "{path} {range}");
            };
            check("bytes=0-0", 0, 1).await;
            check("bytes=10-19", 10, 20).await;
            check("bytes=990-", 990, size).await;
            check("bytes=-5", size - 5, size).await;
            check("bytes=0-999999999", 0, size).await;
            let told = Ask::get(path).field("range", "bytes=999999999-").of(&site).await;
            assert_eq!(
                (told.status.as_u16(), told.field("content-range")),
                (416, format!("bytes */{size}").as_str())
            );
            let told = Ask::get(path).field("range", "bytes=5-2").of(&site).await;
            assert_eq!((told.status.as_u16(), told.body.len()), (200, size));
            let told = Ask::head(path).field("range", "bytes=0-0").of(&site).await;
            assert_eq!(told.status.as_u16(), 200);
            let etag = Ask::head(path).of(&site).await.field("etag").to_owned();
            let told = Ask::get(path)
                .field("range", "bytes=0-0")
                .field("if-range", &etag)
                .of(&site)
                .await;
            assert_eq!(told.status.as_u16(), 206);
            let told = Ask::get(path)
                .field("range", "bytes=0-0")
                .field("if-range", "\"old\"")
                .of(&site)
                .await;
            assert_eq!((told.status.as_u16(), told.body.len()), (200, size));
            several(&site, path, size, &large).await;
        }
    });
}

async fn several(site: &crate::kit::Served, path: &str, size: usize, content: &[u8]) {
    let told = Ask::get(path).field("range", "bytes=0-1,500-509,-3").of(site).await;
    assert_eq!(told.status.as_u16(), 206);
    assert!(!told.has("content-range"));
    let boundary = told
        .field("content-type")
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let mut expected = Vec::new();
    for (from, to) in [(0, 2), (500, 510), (size - 3, size)] {
        if from > 0 {
            expected.extend_from_slice(b"\r\n");
        }
        let head = format!(
            "--{boundary}\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes {from}-{}/{size}\r\n\r\n",
            to - 1
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(&content[from..to]);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(told.body == expected, "{}", String::from_utf8_lossy(&told.body));
    assert_eq!(told.field("content-length"), expected.len().to_string());
}

#[test]
fn an_edit_is_seen_by_the_next_request() {
    run(async {
        let folder = folder(&[("a.txt", b"one")]);
        settle(folder.path(), "a.txt");
        let site = files(folder.path());
        let first = Ask::get("/a.txt").of(&site).await;
        assert_eq!(
            (
                first.text().as_str(),
                Ask::get("/a.txt").of(&site).await.text().as_str()
            ),
            ("one", "one")
        );
        let mut seen = vec![first.field("etag").to_owned()];
        for round in 0..200 {
            let text = format!("{round:03}");
            write(folder.path(), "a.txt", text.as_bytes());
            let told = Ask::get("/a.txt").of(&site).await;
            assert_eq!(told.text(), text);
            seen.push(told.field("etag").to_owned());
        }
        write(folder.path(), "b.txt", b"new");
        std::fs::rename(folder.path().join("b.txt"), folder.path().join("a.txt")).unwrap();
        assert_eq!(Ask::get("/a.txt").of(&site).await.text(), "new");
        std::fs::remove_file(folder.path().join("a.txt")).unwrap();
        assert_eq!(Ask::get("/a.txt").of(&site).await.status.as_u16(), 404);
        seen.dedup();
        assert!(seen.len() > 1);
    });
}

#[test]
fn the_public_gets_an_edit_a_replaced_folder_and_a_compressed_sibling_after_a_moment() {
    run(async {
        let above = folder(&[("one/a.txt", b"one"), ("two/a.txt", b"two, longer")]);
        let current = above.path().join("current");
        symlink("one", &current).unwrap();
        let site = serve(vec![spec(Some(&current), None)], Disclosure::Public);
        let until = async |expected: &str, coding: &str| {
            // Ends with the patience of the test.
            loop {
                let told = Ask::get("/a.txt").field("accept-encoding", "gzip").of(&site).await;
                let found = (
                    String::from_utf8_lossy(&told.body).into_owned(),
                    told.field("content-encoding"),
                );
                if found == (expected.to_owned(), coding) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        until("one", "").await;
        write(&current, "a.txt", b"edited");
        until("edited", "").await;
        std::fs::remove_file(&current).unwrap();
        symlink("two", &current).unwrap();
        until("two, longer", "").await;
        write(&current, "a.txt.gz", b"not really");
        until("not really", "gzip").await;
        std::fs::remove_file(current.join("a.txt.gz")).unwrap();
        until("two, longer", "").await;
    });
}

#[test]
fn a_replaced_root_folder_is_noticed() {
    run(async {
        let base = folder(&[("dist/index.html", b"old")]);
        let dist = base.path().join("dist");
        let site = files(&dist);
        assert_eq!(Ask::get("/").of(&site).await.text(), "old");
        std::fs::remove_dir_all(&dist).unwrap();
        let told = Ask::get("/").of(&site).await;
        assert_eq!(told.status.as_u16(), 404);
        assert!(
            told.text().contains("the root folder does not exist"),
            "{}",
            told.text()
        );
        write(base.path(), "dist/index.html", b"new");
        assert_eq!(Ask::get("/").of(&site).await.text(), "new");
        write(base.path(), "next/index.html", b"next");
        std::fs::rename(&dist, base.path().join("before")).unwrap();
        std::fs::rename(base.path().join("next"), &dist).unwrap();
        assert_eq!(Ask::get("/").of(&site).await.text(), "next");
    });
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_a_fault() {
    run(async {
        let folder = folder(&[("large.bin", &vec![7; 1 << 20])]);
        let site = files(folder.path());
        let (answer, _) = Ask::get("/large.bin").raw(&site).await;
        let sc_http::Payload::Body(mut body) = answer.payload else {
            panic!()
        };
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(!first.is_empty() && first.len() <= 64 << 10);
        write(folder.path(), "large.bin", b"short");
        let (rest, _, fault) = crate::kit::read(body).await;
        assert!(rest.len() < 1 << 20);
        assert!(fault.unwrap().contains("became shorter"));
    });
}

#[test]
fn a_body_reads_no_more_than_it_is_asked_for() {
    run(async {
        let folder = folder(&[("large.bin", &vec![7; 4 << 20])]);
        let site = files(folder.path());
        let (answer, _) = Ask::get("/large.bin").raw(&site).await;
        let sc_http::Payload::Body(mut body) = answer.payload else {
            panic!()
        };
        assert_eq!(body.exact_bytes(), Some(4 << 20));
        let mut frames = 0;
        while let Some(frame) = body.frame().await {
            assert!(frame.unwrap().into_data().unwrap().len() <= 64 << 10);
            frames += 1;
        }
        assert_eq!(frames, 64);
    });
}

#[test]
fn spa_answers_navigations_only() {
    run(async {
        let folder = folder(&[("index.html", b"app"), ("app.js", b"js")]);
        let mut spec = spec(Some(folder.path()), None);
        spec.root.as_mut().unwrap().is_spa = true;
        let site = serve(vec![spec], Disclosure::Developer);
        let check = async |ask: Ask, expected: u16| {
            let target = ask.exchange.target.clone();
            assert_eq!(ask.of(&site).await.status.as_u16(), expected, "{target}");
        };
        let html = "text/html,*/*;q=0.8";
        let told = Ask::get("/cart/7")
            .field("accept", html)
            .field("sec-fetch-mode", "navigate")
            .of(&site)
            .await;
        assert_eq!((told.status.as_u16(), told.text().as_str()), (200, "app"));
        check(Ask::get("/cart/7").field("accept", html), 200).await;
        check(Ask::head("/cart/7").field("accept", html), 200).await;
        check(Ask::get("/app.js"), 200).await;
        check(Ask::get("/cart/7").field("accept", "*/*"), 404).await;
        check(
            Ask::get("/api/x").field("accept", html).field("sec-fetch-mode", "cors"),
            404,
        )
        .await;
        check(
            Ask::get("/missing.js")
                .field("accept", "*/*")
                .field("sec-fetch-mode", "no-cors"),
            404,
        )
        .await;
        check(Ask::new(Method::POST, "/cart/7").field("accept", html), 404).await;
        check(Ask::get("/cart/7"), 404).await;
    });
}

#[test]
fn headers_and_redirects_are_those_of_the_site() {
    run(async {
        let folder = folder(&[("a.txt", b"a")]);
        let mut spec = spec(Some(folder.path()), None);
        spec.headers = vec![
            ("X-Frame-Options".into(), "DENY".into()),
            ("cache-control".into(), "max-age=60".into()),
            ("Link".into(), "</a>; rel=preload".into()),
            ("Link".into(), "</b>; rel=preload".into()),
        ];
        let redirect = |from: &str, to: &str, status| sc_site::RedirectSpec {
            from: from.into(),
            to: to.into(),
            status,
        };
        spec.redirects = vec![
            redirect("/old", "/new", 301),
            redirect("/blog/*", "https://blog.example/posts/*", 308),
            redirect("/fixed/*", "/one?x=1", 302),
        ];
        let site = serve(vec![spec], Disclosure::Developer);
        for path in ["/a.txt", "/missing", "/old"] {
            let told = Ask::get(path).of(&site).await;
            assert_eq!(
                (told.field("x-frame-options"), told.field("cache-control")),
                ("DENY", "max-age=60"),
                "{path}"
            );
            assert_eq!(told.headers.get_all("link").iter().count(), 2);
        }
        let check = async |path: &str, status: u16, location: &str| {
            let told = Ask::get(path).of(&site).await;
            assert_eq!(
                (told.status.as_u16(), told.field("location")),
                (status, location),
                "{path}"
            );
        };
        check("/old", 301, "/new").await;
        check("/old?a=b", 301, "/new?a=b").await;
        check("/older", 404, "").await;
        check("/blog/2020/x?q", 308, "https://blog.example/posts/2020/x?q").await;
        check("/blog", 308, "https://blog.example/posts/").await;
        check("/fixed/anything?y=2", 302, "/one?x=1").await;
    });
}

#[test]
fn bad_headers_redirects_and_names_are_refused_at_compile_time() {
    let compile = |change: &dyn Fn(&mut sc_site::SiteSpec)| {
        let mut spec = spec(None, None);
        change(&mut spec);
        let environment = sc_site::Environment {
            disclosure: Disclosure::Developer,
            marker: "m".into(),
            spawn: std::rc::Rc::new(|_, _| {}),
            told: std::rc::Rc::new(|_| {}),
        };
        sc_site::Sites::compile(vec![spec], environment)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert!(compile(&|_| ()).is_ok());
    for name in ["Content-Length", "transfer-encoding", "Connection", "bad name", ""] {
        let error = compile(&|spec| spec.headers = vec![(name.into(), "x".into())]).unwrap_err();
        assert!(error.contains("cannot be set"), "{error}");
    }
    assert!(compile(&|spec| spec.headers = vec![("x".into(), "a\r\nb: c".into())]).is_err());
    let redirect = |from: &str, to: &str, status| {
        compile(&|spec| {
            spec.redirects = vec![sc_site::RedirectSpec {
                from: from.into(),
                to: to.into(),
                status,
            }]
        })
    };
    assert!(redirect("/a", "/b", 302).is_ok() && redirect("/*", "https://x/*", 307).is_ok());
    for (from, to, status) in [
        ("a", "/b", 302),
        ("/a*b", "/b", 302),
        ("/a", "b", 302),
        ("/a", "javascript:x", 302),
        ("/a", "/b c", 302),
        ("/a", "/b", 200),
    ] {
        assert!(redirect(from, to, status).is_err(), "{from} {to} {status}");
    }
}
