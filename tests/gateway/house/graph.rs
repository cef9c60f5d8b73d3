//! The modules of a crate and the paths between them, read from its syntax tree.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use syn::visit::Visit;

use super::sources::sources;

/// A module, as its path below the crate: `["conversation", "log"]`; the crate itself is empty.
pub(super) type Module = Vec<String>;

/// What a file says about modules.
#[derive(Default)]
struct File {
    /// Paths that it names, apart from what it only re-exports of its own children.
    paths: Vec<Vec<String>>,
    /// Names that it re-exports: from a name to a path.
    reexports: BTreeMap<String, Vec<String>>,
    /// Modules of which it re-exports everything.
    globs: Vec<Vec<String>>,
    /// Names of its own items.
    items: BTreeSet<String>,
    /// Names of its functions and methods, and the words in their bodies.
    bodies: Vec<(String, BTreeSet<String>)>,
    /// Names of the functions that its macros define.
    macro_functions: BTreeSet<String>,
    /// Every word in it.
    words: BTreeSet<String>,
}

/// A crate, module by module.
pub(super) struct Crate {
    files: BTreeMap<Module, File>,
}

impl Crate {
    /// Reads the sources below a folder of the repository.
    pub(super) fn read(folder: &str) -> Self {
        let sources = sources(folder).into_iter();
        Self::of(sources.map(|(path, text)| (module_of(&path, folder), text)))
    }

    /// Reads modules by their texts.
    pub(super) fn of(modules: impl IntoIterator<Item = (Module, String)>) -> Self {
        let files = modules.into_iter().map(|(module, text)| {
            let tree = syn::parse_file(&text).unwrap_or_else(|error| panic!("{module:?}: {error}"));
            let mut reader = Reader::default();
            reader.visit_file(&tree);
            (module, reader.file)
        });
        Self { files: files.collect() }
    }

    /// Returns which modules each module names, in `use` lines and inline. Comments and unit tests
    /// do not count, nor what a module only re-exports of its own children. A re-exported name leads
    /// to the module that has the item.
    pub(super) fn imports(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let named = |module: &Module, file: &File| {
            let mut named: BTreeSet<Module> =
                file.paths.iter().filter_map(|path| self.resolve(module, path)).collect();
            named.remove(module);
            named
        };
        self.files.iter().map(|(module, file)| (module.clone(), named(module, file))).collect()
    }

    /// Returns the words of a function, or of the file that has a type or a macro with the
    /// function; `None` if there is no such item in the module or below it.
    pub(super) fn words<'a>(&'a self, module: &[&str], name: &'a str) -> Option<BTreeSet<&'a str>> {
        let within = |found: &Module| {
            found.iter().map(String::as_str).take(module.len()).eq(module.iter().copied())
        };
        let mut words: Option<BTreeSet<&str>> = None;
        for file in self.files.iter().filter(|(found, _)| within(found)).map(|(_, file)| file) {
            for body in bodies_of(file, name) {
                words.get_or_insert_default().extend(body.iter().map(String::as_str));
            }
            let is_type = name.starts_with(char::is_uppercase) && file.items.contains(name);
            let in_macro =
                bodies_of(file, name).next().is_none() && file.macro_functions.contains(name);
            if is_type || in_macro {
                words.get_or_insert_default().extend(file.words.iter().map(String::as_str));
            }
        }
        words
    }

    /// Returns the module that a path of `from` leads to, if it is of this crate.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        self.follow(from, path, 0)
    }

    fn follow(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        assert!(depth < 20, "a re-export leads to itself: {path:?}");
        let (first, mut rest) = path.split_first()?;
        let mut base = from.clone();
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop();
            }
            child => {
                base.push(child.to_owned());
                if !self.files.contains_key(&base) {
                    return None;
                }
            }
        }
        while let Some((next, after)) = rest.split_first() {
            if next == "super" {
                base.pop();
                rest = after;
                continue;
            }
            base.push(next.clone());
            if !self.files.contains_key(&base) {
                base.pop();
                return Some(self.origin(&base, rest, depth).unwrap_or(base));
            }
            rest = after;
        }
        Some(base)
    }

    /// Returns the module from which `module` re-exports the first name of `rest`.
    fn origin(&self, module: &Module, rest: &[String], depth: usize) -> Option<Module> {
        let file = self.files.get(module)?;
        if let Some(target) = file.reexports.get(&rest[0]) {
            let path: Vec<String> = target.iter().chain(&rest[1..]).cloned().collect();
            return self.follow(module, &path, depth + 1);
        }
        file.globs.iter().find_map(|glob| {
            let found = self.follow(module, glob, depth + 1)?;
            self.files[&found].items.contains(&rest[0]).then_some(found)
        })
    }
}

/// Returns the module that a file below `folder` holds.
fn module_of(path: &Path, folder: &str) -> Module {
    let path = path.strip_prefix(folder).unwrap().with_extension("");
    let mut parts: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// Collects a [`File`].
#[derive(Default)]
struct Reader {
    file: File,
    /// The modules written inline around the current item.
    inline: usize,
}

impl Reader {
    /// Adds a path as seen from the file's module.
    fn add(&mut self, mut path: Vec<String>) {
        // `super` in an inline module may be the file itself.
        let mut inline = self.inline;
        while inline > 0 && path.first().is_some_and(|first| first == "super") {
            path.remove(0);
            inline -= 1;
        }
        if inline < self.inline && path.first().is_none_or(|first| first != "super") {
            path.insert(0, "self".to_owned());
        }
        self.file.paths.push(path);
    }

    fn add_words(&mut self, tokens: TokenStream) {
        let mut paths = Vec::new();
        read_tokens(tokens, &mut self.file.words, &mut paths);
        paths.into_iter().for_each(|path| self.add(path));
    }

    fn add_use(&mut self, tree: &syn::UseTree, mut path: Vec<String>, exported: bool) {
        let (name, glob) = match tree {
            syn::UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.add_use(&tree.tree, path, exported);
            }
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| {
                    self.add_use(tree, path.clone(), exported);
                });
            }
            syn::UseTree::Name(name) => {
                path.push(name.ident.to_string());
                (name.ident.to_string(), false)
            }
            syn::UseTree::Rename(rename) => {
                path.push(rename.ident.to_string());
                assert!(path.len() > 1, "`use {} as {}` hides paths", path[0], rename.rename);
                (rename.rename.to_string(), false)
            }
            syn::UseTree::Glob(_) => (String::new(), true),
        };
        if exported && glob {
            self.file.globs.push(path.clone());
        } else if exported {
            self.file.reexports.insert(name, path.clone());
        }
        if !exported || path[0] != "self" {
            self.add(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = match item {
            syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
            syn::Item::Impl(item) => (&item.attrs, None),
            syn::Item::Mod(item) => (&item.attrs, None),
            syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
            syn::Item::Use(item) => (&item.attrs, None),
            other => return syn::visit::visit_item(self, other),
        };
        if attributes.iter().any(is_for_tests) {
            return;
        }
        if self.inline == 0 {
            self.file.items.extend(name.map(ToString::to_string));
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.inline += 1;
            syn::visit::visit_item_mod(self, item);
            self.inline -= 1;
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let exported = !matches!(item.vis, syn::Visibility::Inherited) && self.inline == 0;
        self.add_use(&item.tree, Vec::new(), exported);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.file.bodies.push((item.sig.ident.to_string(), words_of(&item.block)));
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.file.bodies.push((item.sig.ident.to_string(), words_of(&item.block)));
        syn::visit::visit_impl_item_fn(self, item);
    }

    // `pub(super)` and `pub(in …)` import nothing.
    fn visit_visibility(&mut self, _visibility: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.file.macro_functions.extend(functions_of(call.tokens.clone()));
        self.add_words(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.add_words(list.tokens.clone());
        }
    }

    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.file.words.insert(ident.to_string());
    }
}

/// Returns whether an item is compiled for tests only.
fn is_for_tests(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("test")
        || attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
}

/// Returns the bodies of the functions of this name.
fn bodies_of<'a>(file: &'a File, name: &'a str) -> impl Iterator<Item = &'a BTreeSet<String>> {
    file.bodies.iter().filter(move |(function, _)| function == name).map(|(_, body)| body)
}

/// Returns the names that follow `fn` in the tokens of a macro.
fn functions_of(tokens: TokenStream) -> Vec<String> {
    let mut names = Vec::new();
    let mut after_fn = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => names.extend(functions_of(group.stream())),
            TokenTree::Ident(ident) if after_fn => names.push(ident.to_string()),
            TokenTree::Ident(ident) => {
                after_fn = ident == "fn";
                continue;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        after_fn = false;
    }
    names
}

/// Returns the identifiers of a block, those in macros included.
fn words_of(block: &syn::Block) -> BTreeSet<String> {
    struct Words(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Words {
        fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
            self.0.insert(ident.to_string());
        }

        fn visit_macro(&mut self, call: &'ast syn::Macro) {
            read_tokens(call.tokens.clone(), &mut self.0, &mut Vec::new());
        }
    }
    let mut words = Words(BTreeSet::new());
    words.visit_block(block);
    words.0
}

/// Reads the identifiers and the paths of more than one part, also in string literals, in which
/// attributes such as serde's name functions.
fn read_tokens(tokens: TokenStream, words: &mut BTreeSet<String>, paths: &mut Vec<Vec<String>>) {
    let mut path: Vec<String> = Vec::new();
    let mut colons = 0;
    for token in tokens {
        match &token {
            TokenTree::Ident(ident) => {
                words.insert(ident.to_string());
                if colons != 2 {
                    paths.push(std::mem::take(&mut path));
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                paths.push(std::mem::take(&mut path));
                read_tokens(group.stream(), words, paths);
                colons = 0;
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.starts_with("\"crate::") || text.starts_with("\"super::") {
                    paths.push(text.trim_matches('"').split("::").map(str::to_owned).collect());
                }
            }
            TokenTree::Punct(_) => {
                paths.push(std::mem::take(&mut path));
                colons = 0;
            }
        }
    }
    paths.push(path);
    paths.retain(|path| path.len() > 1);
}

/// Returns the circles of a graph: its strongly connected components of two or more nodes.
pub(super) fn circles<T: Clone + Ord>(graph: &BTreeMap<T, BTreeSet<T>>) -> Vec<BTreeSet<T>> {
    let mut circles: Vec<BTreeSet<T>> = Vec::new();
    for node in graph.keys() {
        if circles.iter().any(|circle| circle.contains(node)) {
            continue;
        }
        let reached = reachable(graph, node);
        let circle: BTreeSet<T> =
            reached.into_iter().filter(|other| reachable(graph, other).contains(node)).collect();
        if circle.len() > 1 {
            circles.push(circle);
        }
    }
    circles
}

fn reachable<T: Clone + Ord>(graph: &BTreeMap<T, BTreeSet<T>>, from: &T) -> BTreeSet<T> {
    let mut reached = BTreeSet::new();
    let mut left = vec![from.clone()];
    while let Some(node) = left.pop() {
        for next in graph.get(&node).into_iter().flatten() {
            if reached.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    reached
}
