//! Git as the judge: what a diff does is what `git apply` does, or the diff is refused.

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::Tree;
use super::apply;

/// Runs git without configuration. Returns its output if it succeeds.
fn git(folder: &Path, args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new("git")
        .args(["-c", "core.autocrlf=false", "-c", "user.name=t", "-c", "user.email=t@t"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    output.status.success().then_some(output.stdout)
}

fn write(folder: &Path, files: &Tree) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

fn read(folder: &Path, names: &[&str]) -> Tree {
    let file = |name: &&str| Some(((*name).to_owned(), std::fs::read(folder.join(name)).ok()?));
    names.iter().filter_map(file).collect()
}

const NAMES: [&str; 4] = ["f", "d/g", "b/h", "two words"];

/// Few different lines, so that places are ambiguous.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[abc]\n",
        2 => "[abc]\r\n",
        1 => Just("\n".to_owned()),
        1 => "(--|\\+\\+|@@|\\\\) [ab]/f\n",
    ]
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec(line(), 0..14);
    (lines, prop::bool::weighted(0.1), prop::bool::weighted(0.2)).prop_map(|(lines, mark, cut)| {
        let mut text = lines.concat();
        if mark {
            text.insert(0, '\u{feff}');
        }
        if cut && text.ends_with('\n') {
            text.pop();
        }
        text.into_bytes()
    })
}

/// An edit of lines: at a place, removes some and inserts others.
type Change = (prop::sample::Index, usize, Vec<String>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (any::<prop::sample::Index>(), 0..3_usize, prop::collection::vec(line(), 0..3));
    prop::collection::vec(change, 0..4)
}

fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> =
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for (at, removed, inserted) in changes {
        let at = at.index(lines.len() + 1);
        let end = (at + removed).min(lines.len());
        lines.splice(at..end, inserted.iter().map(|line| line.clone().into_bytes()));
    }
    lines.concat()
}

/// The files before and after, and those that the patch meets.
#[derive(Debug, Clone)]
struct Case {
    before: Tree,
    after: Tree,
    met: Tree,
    style: Style,
}

#[derive(Debug, Clone, Copy)]
struct Style {
    context: u8,
    prefixes: &'static str,
    moves: bool,
    plain: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let prefixes =
        prop::sample::select(&["", "--no-prefix", "--src-prefix=old/ --dst-prefix=new/"][..]);
    (prop::sample::select(&[0_u8, 1, 3][..]), prefixes, any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(context, prefixes, moves, plain)| Style { context, prefixes, moves, plain })
}

fn case() -> impl Strategy<Value = Case> {
    let one = (
        prop::sample::select(&NAMES[..]),
        prop::option::weighted(0.9, content()),
        prop::option::weighted(0.9, changes()),
        prop::option::weighted(0.3, changes()),
    );
    (prop::collection::vec(one, 1..3), style(), prop::bool::weighted(0.2)).prop_map(
        |(files, style, renames)| {
            let (mut before, mut after, mut met) = (Tree::new(), Tree::new(), Tree::new());
            for (name, old, change, drift) in files {
                if before.contains_key(name) || after.contains_key(name) {
                    continue;
                }
                if let Some(old) = &old {
                    before.insert(name.to_owned(), old.clone());
                    met.insert(name.to_owned(), changed(old, &drift.unwrap_or_default()));
                }
                if let Some(change) = &change {
                    let name = if renames {
                        format!("moved {name}").replace('/', " ")
                    } else {
                        name.to_owned()
                    };
                    after.insert(name, changed(&old.unwrap_or_default(), change));
                }
            }
            Case { before, after, met, style }
        },
    )
}

/// Makes the diff, with git or with `diff`.
fn diff(folder: &Path, case: &Case) -> String {
    let context = format!("-U{}", case.style.context);
    if case.style.plain {
        write(&folder.join("old"), &case.before);
        write(&folder.join("new"), &case.after);
        for side in ["old", "new"] {
            std::fs::create_dir_all(folder.join(side)).unwrap();
        }
        let mut diff = Command::new("diff");
        let output =
            diff.args(["-ruN", &context, "old", "new"]).current_dir(folder).output().unwrap();
        return String::from_utf8(output.stdout).unwrap();
    }
    git(folder, &["init", "-q"]).unwrap();
    write(folder, &case.before);
    git(folder, &["add", "-A"]).unwrap();
    git(folder, &["commit", "-qm", "t", "--allow-empty"]).unwrap();
    for name in case.before.keys() {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    write(folder, &case.after);
    git(folder, &["add", "-A"]).unwrap();
    let mut args = vec!["diff", "--cached", "--binary", &context];
    args.extend(case.style.prefixes.split_whitespace());
    if case.style.moves {
        args.extend(["-M20%", "-C20%"]);
    }
    String::from_utf8(git(folder, &args).unwrap()).unwrap()
}

/// Whether no hunk of a diff has context: git wants to be told.
fn is_bare(patch: &str) -> bool {
    super::Patch::parse(patch.to_owned()).is_ok_and(|patch| patch.is_bare)
}

/// Applies a diff with git. Returns the files after it, unless git refuses.
fn apply_by_git(case: &Case, patch: &str) -> Option<Tree> {
    let (folder, made) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(folder.path(), &case.met);
    let path = made.path().join("patch");
    std::fs::write(&path, patch).unwrap();
    let strip = case.style.plain || case.style.prefixes != "--no-prefix";
    let mut args = vec!["apply", "--whitespace=nowarn", if strip { "-p1" } else { "-p0" }];
    if is_bare(patch) {
        args.push("--unidiff-zero");
    }
    let path = path.display().to_string();
    args.push(&path);
    git(folder.path(), &args)?;
    let names: Vec<&str> = case.met.keys().chain(case.after.keys()).map(String::as_str).collect();
    Some(read(folder.path(), &names))
}

/// Files without byte order marks, carriage returns and missing last line feeds.
fn plain(files: &Tree) -> Tree {
    let plain = |bytes: &Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap().replace("\r\n", "\n");
        let text = text.trim_start_matches('\u{feff}');
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        format!("{text}{end}").into_bytes()
    };
    files.iter().map(|(name, bytes)| (name.clone(), plain(bytes))).collect()
}

fn judge(case: &Case) -> TestCaseResult {
    let made = tempfile::tempdir().unwrap();
    let patch = diff(made.path(), case);
    if patch.is_empty() {
        return Ok(());
    }
    let ours = apply(&case.met, &patch);
    if case.met == case.before {
        // `diff` is silent about empty files that appear or disappear.
        let told = |mut files: Tree| {
            files.retain(|_, bytes| !(case.style.plain && bytes.is_empty()));
            files
        };
        let ours = ours.clone().map(told);
        prop_assert_eq!(ours, Ok(told(case.after.clone())), "an unchanged file\n{}", patch);
        return Ok(());
    }
    // Git looks for a hunk without context where the new numbers say, and takes the nearest line.
    if is_bare(&patch) {
        return Ok(());
    }
    let Ok(ours) = ours else { return Ok(()) };
    if let Some(theirs) = apply_by_git(case, &patch) {
        prop_assert_eq!(&ours, &theirs, "\n{}", patch);
        return Ok(());
    }
    // Git compares line endings: it judges without them.
    let case = Case {
        before: plain(&case.before),
        after: plain(&case.after),
        met: plain(&case.met),
        ..case.clone()
    };
    let again = tempfile::tempdir().unwrap();
    let plain_patch = diff(again.path(), &case);
    if !plain_patch.is_empty() {
        let theirs = apply_by_git(&case, &plain_patch);
        prop_assert_eq!(Some(plain(&ours)), theirs, "git refuses\n{}", patch);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn diff_has_git_result_or_is_refused(case in case()) {
        judge(&case)?;
    }
}

proptest! {
    #[test]
    fn hostile_text_is_refused_without_panic(text in "(\\*\\*\\* Begin Patch\n|--- a/f\n\\+\\+\\+ b/f\n|diff --git a/f b/f\n)([@+\\- \\\\*a-f0-9,\n]|@@ -1,2 \\+1 @@\n|\\*\\*\\* Update File: f\n|GIT binary patch\nliteral 5\n){0,40}") {
        let _ = apply(&super::tree(&[("f", "a\nb\n")]), &text);
    }
}
