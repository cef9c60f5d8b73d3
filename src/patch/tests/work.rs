//! The costs of hostile patches, by counts of work.

use super::AbandonOnDrop;
use super::Budget;
use super::apply;
use super::apply_within;
use super::refused;
use crate::patch::budget::MAX_WORK;

/// Two megabytes of short lines, all different.
fn large() -> String {
    (0..250_000).map(|n| format!("{n:07}\n")).collect()
}

#[test]
fn hunks_of_one_file_share_one_search() {
    let files = [("f".to_owned(), large().into_bytes())].into();
    let hunk = |n: usize| format!("@@\n-{n:07}\n+changed\n");
    let hunks: String = (0..1000).map(|n| hunk(n * 200)).collect();
    let after =
        apply(&files, &format!("*** Begin Patch\n*** Update File: f\n{hunks}*** End Patch"))
            .unwrap();
    assert_eq!(
        after["f"].split(|byte| *byte == b'\n').filter(|line| *line == b"changed").count(),
        1000
    );
    // As sections: alone, each would be a search.
    let sections: String =
        (0..1000).map(|n| format!("*** Update File: f\n{}", hunk(n * 200))).collect();
    assert_eq!(apply(&files, &format!("*** Begin Patch\n{sections}*** End Patch")).unwrap(), after);
}

#[test]
fn work_and_results_are_bounded() {
    let files = [("f".to_owned(), large().into_bytes()), ("g".to_owned(), b"1\n".to_vec())].into();
    let again = "*** Update File: f
@@
-0000001
+0000001
*** Update File: g
@@
-1
+1
"
    .repeat(600);
    let patch = format!(
        "*** Begin Patch
{again}*** End Patch"
    );
    let client = AbandonOnDrop::default();
    let mut budget = Budget::new(&client);
    budget.work((MAX_WORK - (20 << 20)) as usize).unwrap();
    refused(apply_within(&files, &patch, &mut budget), "to search and rewrite");
    let copies: String =
        (0..40).map(|n| format!("diff --git a/f b/c{n}\ncopy from f\ncopy to c{n}\n")).collect();
    refused(apply(&files, &copies), "results of at most");
    let hashes = format!("{}..{}", "0".repeat(40), "1".repeat(40));
    for kind in ["literal", "delta"] {
        let bomb = format!(
            "diff --git a/n b/n\nnew file mode 100644\nindex {hashes}\nGIT binary patch\n{kind} 999999999999\nIcmZ\n\n"
        );
        refused(apply(&files, &bomb), "results of at most");
    }
}

#[test]
fn lines_in_too_many_places_are_refused() {
    let files = [("f".to_owned(), "a\n".repeat(200_000).into_bytes())].into();
    let patch = "*** Begin Patch\n*** Update File: f\n@@\n a\n-a\n+b\n*** End Patch";
    refused(apply(&files, patch), "too many places");
}
