//! Unified diffs.

use super::apply;
use super::apply_to;
use super::refused;
use super::tree;

fn diff(hunks: &str) -> String {
    format!("--- a/f\n+++ b/f\n{hunks}")
}

const TEN: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";

#[test]
fn hunks_without_context_apply_by_number() {
    let after = TEN.replace("3\n", "3\nnew\n");
    assert_eq!(apply_to(TEN, &diff("@@ -3,0 +4 @@\n+new\n")).unwrap(), after);
    let after = TEN.replace("3\n", "three\n");
    assert_eq!(apply_to(TEN, &diff("@@ -3 +3 @@\n-3\n+three\n")).unwrap(), after);
    assert_eq!(apply_to(TEN, &diff("@@ -3 +2,0 @@\n-3\n")).unwrap(), TEN.replace("3\n", ""));
    assert_eq!(apply_to(TEN, &diff("@@ -0,0 +1 @@\n+0\n")).unwrap(), format!("0\n{TEN}"));
    let two = diff("@@ -1 +0,0 @@\n-1\n@@ -9,0 +9,2 @@\n+a\n+b\n");
    assert_eq!(apply_to(TEN, &two).unwrap(), "2\n3\n4\n5\n6\n7\n8\n9\na\nb\n10\n");
    // Numbers that contradict each other tell no place.
    refused(apply_to(TEN, &diff("@@ -3,0 +9 @@\n+new\n")), "context");
    refused(apply_to(TEN, &diff("@@ -30,0 +31 @@\n+new\n")), "context");
    // Beside hunks with context, an insertion without it belongs at the end.
    let mixed = diff("@@ -1,2 +1,2 @@\n-1\n+one\n 2\n@@ -3,0 +4 @@\n+new\n");
    refused(apply_to(TEN, &mixed), "hunk at line 7");
}

#[test]
fn additions_and_moves_do_not_overwrite() {
    let files = tree(&[("f", "1\n"), ("g", "2\n")]);
    let add = "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+new\n";
    refused(apply(&files, add), "already exists");
    // Without `/dev/null` it is an insertion, as of `diff -U0`; beside context, a new file.
    let insertion = add.replace("/dev/null", "a/f");
    assert_eq!(apply(&files, &insertion).unwrap()["f"], b"new\n1\n");
    let beside = format!("--- a/g\n+++ b/g\n@@ -1 +1,2 @@\n 2\n+3\n{insertion}");
    refused(apply(&files, &beside), "f:0: hunk");
    let git = format!("diff --git a/f b/f\nnew file mode 100644\n{add}");
    refused(apply(&files, &git), "already exists");
    for kind in ["rename", "copy"] {
        let moved = format!("diff --git a/f b/g\n{kind} from f\n{kind} to g\n");
        refused(apply(&files, &moved), "already exists");
    }
    let onto_itself = "diff --git a/f b/f\nrename from f\nrename to f\n";
    assert_eq!(apply(&files, onto_itself).unwrap(), files);
    let swap = "diff --git a/f b/g\nrename from f\nrename to g\ndiff --git a/g b/f\nrename from g\nrename to f\n";
    assert_eq!(apply(&files, swap).unwrap(), tree(&[("f", "2\n"), ("g", "1\n")]));
}

#[test]
fn deletions_name_the_whole_content() {
    let delete = "--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n";
    assert!(apply(&tree(&[("f", "1\n")]), delete).unwrap().is_empty());
    refused(apply(&tree(&[("f", "1\n2\n")]), delete), "does not remove");
    refused(apply(&tree(&[("f", "2\n")]), delete), "\"1\"");
    refused(apply(&tree(&[]), delete), "no such file");
    let empty = "diff --git a/f b/f\ndeleted file mode 100644\n";
    assert!(apply(&tree(&[("f", "")]), empty).unwrap().is_empty());
    refused(apply(&tree(&[("f", "1\n")]), empty), "does not remove");
}

#[test]
fn patch_may_lack_its_last_line_feed() {
    assert_eq!(apply_to("1\n", "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2").unwrap(), "2\n");
    let marked =
        diff("@@ -1 +1 @@\n-1\n\\ No newline at end of file\n+2\n\\ No newline at end of file");
    assert_eq!(apply_to("1", &marked).unwrap(), "2");
}

#[test]
fn dates_after_spaces_are_no_names() {
    let patch = "--- a/f 2024-01-01 00:00:00.000000000 +0000\n+++ b/f 2024-01-01 00:00:01.000000000 +0000\n@@ -1 +1 @@\n-1\n+2\n";
    assert_eq!(apply_to("1\n", patch).unwrap(), "2\n");
}

#[test]
fn line_endings_and_mark_stay() {
    let hunk = "@@ -1,2 +1,2 @@\n a\n-b\n+B\n";
    assert_eq!(apply_to("a\r\nb\r\n", &diff(hunk)).unwrap(), "a\r\nB\r\n");
    assert_eq!(apply_to("a\nb\n", &diff(hunk).replace('\n', "\r\n")).unwrap(), "a\nB\n");
    assert_eq!(apply_to("\u{feff}a\nb\n", &diff(hunk)).unwrap(), "\u{feff}a\nB\n");
    assert_eq!(apply_to("a\nb", &diff(hunk)).unwrap(), "a\nB");
    refused(apply_to("a\r\nb\n", &diff(hunk)), "mixed");
    // A patch that names endings changes them.
    let ends = "@@ -1,2 +1,2 @@\n a\n-b\r\n+b\n";
    assert_eq!(apply_to("a\nb\r\n", &diff(ends)).unwrap(), "a\nb\n");
    let mark = "@@ -1,2 +1,2 @@\n-\u{feff}a\n+a\n b\n";
    assert_eq!(apply_to("\u{feff}a\nb\n", &diff(mark)).unwrap(), "a\nb\n");
    let marked = "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+B\n";
    refused(apply_to("a\nb\n", &diff(marked)), "line");
    assert_eq!(apply_to("a\nb", &diff(marked)).unwrap(), "a\nB\n");
    let inside = "@@ -1,2 +1,2 @@\n-1\n+one\n\\ No newline at end of file\n 2\n";
    refused(apply_to("1\n2\n", &diff(inside)), "last of the file");
}

#[test]
fn wrong_counts_are_corrected() {
    let after = TEN.replace("5\n", "five\n");
    for counts in ["-4,9 +4,9", "-4 +4", "-4,2 +4,4", "-1,3 +4,3"] {
        let hunk = format!("@@ {counts} @@\n 4\n-5\n+five\n 6\n");
        let result = apply_to(TEN, &diff(&hunk));
        match counts {
            // It says that it begins at the begin of the file.
            "-1,3 +4,3" => refused(result, "begin of the file"),
            _ => assert_eq!(result.unwrap(), after, "{counts}"),
        }
    }
}

#[test]
fn several_places_are_refused_with_lines() {
    let file = "x\na\ny\na\ny\nz\n";
    let hunk = |line| format!("@@ -{line},2 +{line},2 @@\n-a\n+A\n y\n");
    assert_eq!(apply_to(file, &diff(&hunk(4))).unwrap(), "x\na\ny\nA\ny\nz\n");
    refused(apply_to(file, &diff(&hunk(3))), "lines 2, 4");
    // Elsewhere, but in one place only.
    assert_eq!(apply_to("0\nx\na\ny\n", &diff(&hunk(2))).unwrap(), "0\nx\nA\ny\n");
}

#[test]
fn conflict_names_the_place_and_the_reason() {
    refused(
        apply_to(TEN, &diff("@@ -4,3 +4,3 @@\n 4\n-fünf\n+five\n 6\n")),
        "\"fünf\" at line 5, got \"5\"",
    );
    refused(apply_to("1\n", &diff("@@ -1,2 +1,2 @@\n 1\n-2\n+two\n")), "got the end of the file");
    let overlap = diff("@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n@@ -2,3 +2,3 @@\n 2\n-3\n+three\n 4\n");
    refused(apply_to(TEN, &overlap), "line 8 of the patch");
}
