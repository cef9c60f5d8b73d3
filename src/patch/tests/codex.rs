//! Codex's own form.

use super::apply;
use super::apply_to;
use super::refused;
use super::tree;

fn patch(body: &str) -> String {
    format!("*** Begin Patch\n{body}\n*** End Patch\n")
}

fn update(body: &str) -> String {
    patch(&format!("*** Update File: f\n{body}"))
}

#[test]
fn move_onto_itself_is_no_move() {
    for to in ["f", "./f"] {
        let patch = update(&format!("*** Move to: {to}\n@@\n-before\n+after"));
        assert_eq!(apply_to("before\n", &patch).unwrap(), "after\n");
    }
}

#[test]
fn files_that_exist_are_not_overwritten() {
    let files = tree(&[("f", "old\n"), ("g", "other\n")]);
    refused(apply(&files, &patch("*** Add File: g\n+new")), "already exists");
    refused(apply(&files, &update("*** Move to: g\n@@\n-old\n+new")), "already exists");
    refused(
        apply(&files, &patch("*** Add File: new\n+1\n*** Add File: new\n+2")),
        "already exists",
    );
    let replaced = patch("*** Delete File: f\n*** Add File: f\n+new");
    assert_eq!(apply(&files, &replaced).unwrap()["f"], b"new\n");
    let moved = patch("*** Delete File: g\n*** Update File: f\n*** Move to: g\n@@\n-old\n+new");
    assert_eq!(apply(&files, &moved).unwrap(), tree(&[("g", "new\n")]));
}

#[test]
fn files_that_are_missing_are_conflicts() {
    let files = tree(&[("f", "old\n")]);
    refused(apply(&files, &patch("*** Delete File: none")), "no such file");
    refused(apply(&files, &patch("*** Update File: none\n@@\n-a\n+b")), "no such file");
    refused(apply(&files, &patch("*** Delete File: f\n*** Delete File: f")), "no such file");
    refused(apply(&files, "*** Begin Patch\n*** End Patch\n"), "expected a file to change");
}

#[test]
fn indentation_is_never_rewritten() {
    let file = "    a = 1\n    b = 2\n";
    refused(apply_to(file, &update("@@\n   a = 1\n-  b = 2\n+  b = 3")), "white space");
    refused(apply_to("x – y\n1\n", &update("@@\n x - y\n-1\n+2")), "none");
    refused(apply_to("x  \n1\n", &update("@@\n x\n-1\n+2")), "line 1 is similar");
}

#[test]
fn line_endings_stay() {
    let one = update("@@\n a\n-b\n+B\n+C");
    assert_eq!(apply_to("a\r\nb\r\nc\r\n", &one).unwrap(), "a\r\nB\r\nC\r\nc\r\n");
    assert_eq!(apply_to("a\r\nb\r\n", &one.replace('\n', "\r\n")).unwrap(), "a\r\nB\r\nC\r\n");
    assert_eq!(apply_to("a\nb\n", &one.replace('\n', "\r\n")).unwrap(), "a\nB\nC\n");
    refused(apply_to("a\r\nb\nc\n", &one), "mixed");
    // Lines that no hunk names keep theirs.
    assert_eq!(apply_to("x\r\na\nb\nc\r\n", &one).unwrap(), "x\r\na\nB\nC\nc\r\n");
    let removes = update("@@\n a\n-b");
    assert_eq!(apply_to("a\r\nb\n", &removes).unwrap(), "a\r\n");
}

#[test]
fn last_line_feed_stays_missing() {
    assert_eq!(apply_to("x", &update("@@\n-x\n+y")).unwrap(), "y");
    assert_eq!(apply_to("a\nx", &update("@@\n x\n+y")).unwrap(), "a\nx\ny");
    assert_eq!(apply_to("a\r\nx", &update("@@\n a\n x\n+y")).unwrap(), "a\r\nx\r\ny");
    assert_eq!(apply_to("a\nx", &update("@@\n-a\n+b")).unwrap(), "b\nx");
    assert_eq!(apply_to("a\nx", &update("@@\n a\n-x")).unwrap(), "a");
    assert_eq!(apply_to("a\nx", &update("@@\n+y\n*** End of File")).unwrap(), "a\nx\ny");
    assert_eq!(apply_to("a\r\nx", &update("@@\n+y\n*** End of File")).unwrap(), "a\r\nx\r\ny");
    assert_eq!(apply_to("x\n", &update("@@\n-x\n+y")).unwrap(), "y\n");
}

#[test]
fn byte_order_mark_stays() {
    assert_eq!(apply_to("\u{feff}a\nb\n", &update("@@\n-a\n+A")).unwrap(), "\u{feff}A\nb\n");
    assert_eq!(apply_to("\u{feff}a\nb\n", &update("@@\n+0\n a")).unwrap(), "\u{feff}0\na\nb\n");
    assert_eq!(apply_to("\u{feff}a\nb\n", &update("@@\n-b\n+B")).unwrap(), "\u{feff}a\nB\n");
    assert_eq!(apply_to("a\n", &format!("\u{feff}{}", update("@@\n-a\n+A"))).unwrap(), "A\n");
}

#[test]
fn insertion_follows_its_anchor_or_is_refused() {
    let file = "def f():\n    pass\ndef g():\n    pass\n";
    let inserted = "def f():\n    x\n    pass\ndef g():\n    pass\n";
    assert_eq!(apply_to(file, &update("@@ def f():\n+    x")).unwrap(), inserted);
    refused(apply_to(file, &update("@@\n+    x")), "context");
    refused(apply_to(file, &update("@@ def h():\n+    x")), "`@@`");
    refused(apply_to(file, &update("@@     pass\n+    x")), "lines 2, 4");
    let end = format!("{file}x\n");
    assert_eq!(apply_to(file, &update("@@\n+x\n*** End of File")).unwrap(), end);
    assert_eq!(apply_to("", &update("@@\n+x")).unwrap(), "x\n");
}

#[test]
fn anchor_chooses_among_several_places() {
    let file = "def f():\n    return 1\n\ndef g():\n    return 1\n";
    let change = "-    return 1\n+    return 2";
    refused(apply_to(file, &update(&format!("@@\n{change}"))), "lines 2, 5");
    let first = "def f():\n    return 2\n\ndef g():\n    return 1\n";
    assert_eq!(apply_to(file, &update(&format!("@@ def f():\n{change}"))).unwrap(), first);
    let second = "def f():\n    return 1\n\ndef g():\n    return 2\n";
    for anchor in ["def g():", "  def g():  "] {
        assert_eq!(apply_to(file, &update(&format!("@@ {anchor}\n{change}"))).unwrap(), second);
    }
    // The anchor is repeated, or it is the header of a unified diff.
    let repeated = update("@@ def g():\n def g():\n-    return 1\n+    return 2");
    assert_eq!(apply_to(file, &repeated).unwrap(), second);
    let numbers = update("@@ -4,2 +4,2 @@\n def g():\n-    return 1\n+    return 2");
    assert_eq!(apply_to(file, &numbers).unwrap(), second);
    // Hunks are in the order of the file.
    let both = update(&format!("@@ def f():\n{change}\n@@\n{change}"));
    let changed = "def f():\n    return 2\n\ndef g():\n    return 2\n";
    assert_eq!(apply_to(file, &both).unwrap(), changed);
    let end = update(&format!("@@\n{change}\n*** End of File"));
    assert_eq!(apply_to(file, &end).unwrap(), second);
}

#[test]
fn empty_line_after_the_last_is_allowed() {
    assert_eq!(apply_to("a\nb\n", &update("@@\n a\n-b\n+c\n \n")).unwrap(), "a\nc\n");
    assert_eq!(apply_to("a\r\nb\r\n", &update("@@\n a\n-b\n+c\n\n")).unwrap(), "a\r\nc\r\n");
    assert_eq!(apply_to("a\n\nb\n", &update("@@\n a\n\n-b\n+c")).unwrap(), "a\n\nc\n");
}

#[test]
fn sections_of_one_file_follow_each_other() {
    let two = "@@\n-b\n+B\n*** Update File: f\n@@\n-a\n+A";
    assert_eq!(apply_to("a\nb\n", &update(two)).unwrap(), "A\nB\n");
    // The second needs the first.
    let chain = "@@\n-b\n+B\n*** Update File: f\n@@\n-B\n+C";
    assert_eq!(apply_to("a\nb\n", &update(chain)).unwrap(), "a\nC\n");
    let again = "@@\n-b\n+B\n*** Update File: f\n@@\n-b\n+C";
    refused(apply_to("a\nb\n", &update(again)), "\"b\"");
}
