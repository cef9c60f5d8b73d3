//! The demo model's replies. It is stateless: each request holds the whole conversation, and the
//! number of tool outputs since the last prompt determines the next step.

use serde_json::Value;
use serde_json::json;

use super::request::Request;

/// One reply of the model.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// Text, streamed word by word.
    Text(String),
    /// Text of this many numbered deltas.
    Deltas(usize),
    /// Words with a pause between them.
    Slow { words: usize, pause_ms: u64 },
    /// A function call.
    Call { name: &'static str, arguments: Value },
    /// A function call in a namespace: a tool of an MCP server.
    CallIn { namespace: String, name: String, arguments: Value },
    /// A call of codex's freeform patch tool.
    Patch(String),
}

/// A step of a scripted turn. The last one is text.
enum Step {
    Run(String),
    Use { server: String, tool: String, arguments: Value },
    Write { path: String, content: String },
    Plan([&'static str; 3]),
    Say(Box<dyn Fn(&Request) -> String>),
}

const HELP: &str = "I am the demo model of codex-gateway: a script, not an intelligence. I answered \
so that you can see codex-core at work without a key. Try `run: ls -la`, `echo Hello World`, \
`create a python script that prints hello world`, `make a plan`, or `tell me a long story`; \
`call: SERVER TOOL {}` calls a tool of an MCP server that was connected. For a \
real model set OPENAI_API_KEY, or `model_provider` in config.toml, and start again.";

const STORY: &str = "Once upon a time there was a request that wanted an answer. It crossed a socket, \
found its route, showed its key, and was let in. A conversation opened for it, with a folder of its \
own; the agent read the prompt, thought, and spoke, and each word went out the moment it was said.";

/// Commands that need no `run:` before them.
const COMMANDS: [&str; 24] = [
    "cat", "cd", "cp", "date", "df", "du", "echo", "env", "find", "git", "grep", "head", "id",
    "ls", "mkdir", "printf", "ps", "pwd", "python3", "sleep", "touch", "uname", "wc", "whoami",
];

/// Returns the next reply.
pub(super) fn reply(request: &Request) -> Reply {
    let prompt = request.prompt();
    if let Some(count) = after(prompt, "deltas:").and_then(|count| count.parse().ok()) {
        return Reply::Deltas(count);
    }
    if let Some(words) = after(prompt, "slow:").and_then(|count| count.parse().ok()) {
        return Reply::Slow { words, pause_ms: 100 };
    }
    let steps = steps(request);
    match steps.into_iter().nth(request.outputs.len()) {
        Some(Step::Run(command)) => run(request, &command),
        Some(Step::Use { server, tool, arguments }) => call(request, &server, &tool, arguments),
        Some(Step::Write { path, content }) => write(request, &path, &content),
        Some(Step::Plan(statuses)) => plan(statuses),
        Some(Step::Say(say)) => Reply::Text(say(request)),
        None => Reply::Text("Done.".to_owned()),
    }
}

fn steps(request: &Request) -> Vec<Step> {
    let prompt = request.prompt();
    let lower = prompt.to_lowercase();
    if let Some(text) = after(prompt, "say:") {
        let text = text.to_owned();
        return vec![say(move |_| text.clone())];
    }
    if let Some(command) = after(prompt, "run:").or_else(|| plain_command(prompt)) {
        return vec![Step::Run(command.to_owned()), say(summary)];
    }
    if let Some((server, call)) = after(prompt, "call:").and_then(|call| call.split_once(' ')) {
        let (tool, arguments) = call.trim().split_once(' ').unwrap_or((call.trim(), "{}"));
        let Ok(arguments) = serde_json::from_str(arguments) else {
            return vec![say(|_| {
                "I need the arguments as JSON: `call: SERVER TOOL {}`.".to_owned()
            })];
        };
        let (server, tool) = (server.to_owned(), tool.to_owned());
        return vec![Step::Use { server, tool, arguments }, say(answered)];
    }
    if let Some(script) = requested_script(prompt, &lower) {
        let run = format!("{} {}", script.interpreter, script.path);
        let path = script.path;
        return vec![
            Step::Write { path: path.to_owned(), content: script.content },
            Step::Run(run),
            say(move |request| format!("I wrote `{path}` and ran it. {}", summary(request))),
        ];
    }
    if lower.contains("plan") || lower.contains("multi-step") {
        return vec![
            Step::Plan(["in_progress", "pending", "pending"]),
            Step::Run("pwd".to_owned()),
            Step::Plan(["completed", "in_progress", "pending"]),
            Step::Run("ls -la".to_owned()),
            Step::Plan(["completed", "completed", "completed"]),
            say(|_| {
                "I planned three steps: find out where we are, look around, sum up. We are in \
                     the conversation's own folder, and the listing above is what lies in it."
                    .to_owned()
            }),
        ];
    }
    if lower.contains("long") || lower.contains("story") {
        return vec![say(|_| [STORY; 12].join("\n\n"))];
    }
    if lower.contains("before") || lower.contains("remember") || lower.contains("earlier") {
        return vec![say(recall)];
    }
    vec![say(|_| HELP.to_owned())]
}

fn say(text: impl Fn(&Request) -> String + 'static) -> Step {
    Step::Say(Box::new(text))
}

fn after<'a>(prompt: &'a str, word: &str) -> Option<&'a str> {
    let (head, tail) = prompt.split_at_checked(word.len())?;
    head.eq_ignore_ascii_case(word).then(|| tail.trim()).filter(|tail| !tail.is_empty())
}

fn plain_command(prompt: &str) -> Option<&str> {
    let first = prompt.split_whitespace().next()?;
    let is_command = COMMANDS.contains(&first) || first.starts_with("./");
    (is_command && !prompt.ends_with(['?', '.'])).then_some(prompt)
}

struct Script {
    path: &'static str,
    interpreter: &'static str,
    content: String,
}

/// Understands some forms of "create a python script that prints hello world".
fn requested_script(prompt: &str, lower: &str) -> Option<Script> {
    let has_verb = ["create", "write", "make"].iter().any(|verb| lower.contains(verb));
    if !has_verb || !["script", "program", "file"].iter().any(|noun| lower.contains(noun)) {
        return None;
    }
    let text = lower.find("prints ").map(|at| at + "prints ".len());
    let text = text.and_then(|at| prompt.get(at..)).unwrap_or("hello world");
    let text = text.trim().trim_matches(['"', '\'', '.', '`']);
    let quoted = Value::from(text).to_string();
    let shell = lower.contains("bash") || lower.contains("shell");
    Some(if shell {
        Script { path: "hello.sh", interpreter: "sh", content: format!("echo {quoted}\n") }
    } else {
        Script { path: "hello.py", interpreter: "python3", content: format!("print({quoted})\n") }
    })
}

fn run(request: &Request, command: &str) -> Reply {
    if request.offers("exec_command") {
        // As long as core lets a command run before it moves to the background.
        let arguments = json!({ "cmd": command, "yield_time_ms": 30_000, "login": false });
        return Reply::Call { name: "exec_command", arguments };
    }
    if request.offers("shell_command") {
        let arguments = json!({ "command": command, "timeout_ms": 3_600_000, "login": false });
        return Reply::Call { name: "shell_command", arguments };
    }
    no_tools()
}

/// Calls a tool of an MCP server, which core offers in a namespace.
fn call(request: &Request, server: &str, tool: &str, arguments: Value) -> Reply {
    let expected = format!("mcp__{server}").replace('-', "_");
    let matches = |namespace: &str| namespace.replace('-', "_").trim_end_matches('_') == expected;
    let found = request.namespaced.iter().find(|(namespace, name)| {
        matches(namespace) && name.replace('-', "_") == tool.replace('-', "_")
    });
    match found {
        Some((namespace, name)) => {
            Reply::CallIn { namespace: namespace.clone(), name: name.clone(), arguments }
        }
        None => Reply::Text(format!(
            "I am offered no tool `{tool}` of a server `{server}`; of servers I am offered: {}.",
            match request.namespaced.as_slice() {
                [] => "nothing".to_owned(),
                some => {
                    let names = some.iter().map(|(namespace, name)| format!("{namespace} {name}"));
                    names.collect::<Vec<_>>().join(", ")
                }
            }
        )),
    }
}

fn write(request: &Request, path: &str, content: &str) -> Reply {
    if !request.offers("apply_patch") {
        return no_tools();
    }
    let added: String = content.lines().map(|line| format!("+{line}\n")).collect();
    Reply::Patch(format!("*** Begin Patch\n*** Add File: {path}\n{added}*** End Patch\n"))
}

fn plan(statuses: [&str; 3]) -> Reply {
    let steps = ["Find out where we are", "Look around", "Sum up"];
    let plan: Vec<Value> = steps
        .iter()
        .zip(statuses)
        .map(|(step, status)| json!({ "step": step, "status": status }))
        .collect();
    Reply::Call { name: "update_plan", arguments: json!({ "plan": plan }) }
}

fn no_tools() -> Reply {
    Reply::Text(
        "I have no tool that runs commands or writes files here: the gateway found no sandbox that \
         works, so it took them away (\"sandbox\":\"none\", \"tools\":\"off\"). Install bubblewrap \
         (`apt-get install bubblewrap`) and start again; `/health` says more."
            .to_owned(),
    )
}

/// Quotes the output of the last tool.
fn answered(request: &Request) -> String {
    format!("The tool answered:\n\n{}", request.outputs.last().map_or("", String::as_str))
}

/// Summarizes the output of the last command.
fn summary(request: &Request) -> String {
    let output = request.outputs.last().map_or("", String::as_str);
    let printed = output.split_once("Output:\n").map_or(output, |(_, printed)| printed).trim();
    let code = ["exited with code ", "Exit code: ", "exit code: "]
        .iter()
        .find_map(|label| output.split_once(label))
        .and_then(|(_, code)| code.split_whitespace().next());
    match (code, printed) {
        (None | Some("0"), "") => "The command printed nothing.".to_owned(),
        (None | Some("0"), printed) => format!("The command printed:\n\n{printed}"),
        (Some(code), "") => format!("The command failed with exit code {code}."),
        (Some(code), printed) => format!("The command failed with exit code {code}:\n\n{printed}"),
    }
}

/// Lists the earlier prompts, which shows that a session continues.
fn recall(request: &Request) -> String {
    let earlier = request.prompts.len().saturating_sub(1);
    match request.prompts.get(..earlier).unwrap_or_default() {
        [] => "This is the first thing you say to me.".to_owned(),
        earlier => {
            let list: Vec<String> =
                earlier.iter().map(|prompt| format!("- {}", prompt.trim())).collect();
            format!("Before this you said:\n{}", list.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(prompt: &str, outputs: &[&str], tools: &[&str]) -> Request {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Request {
            prompts: vec![prompt.to_owned()],
            outputs: own(outputs),
            tools: own(tools),
            namespaced: vec![("mcp__we_ather__".to_owned(), "look_up".to_owned())],
        }
    }

    #[test]
    fn command_is_run_and_its_output_quoted() {
        for prompt in ["run: echo hi", "Run:  echo hi", "echo hi"] {
            let Reply::Call { name, arguments } = reply(&request(prompt, &[], &["shell_command"]))
            else {
                panic!("{prompt}")
            };
            assert_eq!((name, arguments["command"].as_str()), ("shell_command", Some("echo hi")));
        }
        let output = "Exit code: 0\nWall time: 0 seconds\nOutput:\nhi\n";
        let quoted = reply(&request("run: echo hi", &[output], &["shell_command"]));
        assert_eq!(quoted, Reply::Text("The command printed:\n\nhi".to_owned()));
    }

    #[test]
    fn script_is_patched_in_and_run() {
        let prompt = "create a python script that prints hello world";
        let tools = ["apply_patch", "exec_command"];
        assert_eq!(
            reply(&request(prompt, &[], &tools)),
            Reply::Patch(
                "*** Begin Patch\n*** Add File: hello.py\n+print(\"hello world\")\n*** End Patch\n"
                    .into()
            )
        );
        let Reply::Call { arguments, .. } = reply(&request(prompt, &["Success"], &tools)) else {
            panic!("expected a call")
        };
        assert_eq!(arguments["cmd"], "python3 hello.py");
    }

    #[test]
    fn offered_server_tool_is_called() {
        let called = reply(&request("call: we-ather look_up {\"at\":1}", &[], &[]));
        let (namespace, name) = ("mcp__we_ather__".to_owned(), "look_up".to_owned());
        assert_eq!(called, Reply::CallIn { namespace, name, arguments: json!({ "at": 1 }) });
        let quoted = reply(&request("call: we-ather look_up", &["42"], &[]));
        assert_eq!(quoted, Reply::Text("The tool answered:\n\n42".to_owned()));
        for (prompt, expected) in [
            ("call: other look_up {}", "no tool `look_up` of a server `other`"),
            ("call: we-ather look_up {", "arguments as JSON"),
        ] {
            let Reply::Text(text) = reply(&request(prompt, &[], &[])) else { panic!("{prompt}") };
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn missing_tools_are_explained() {
        let Reply::Text(text) = reply(&request("run: ls", &[], &[])) else {
            panic!("expected text")
        };
        assert!(text.contains("apt-get install bubblewrap"));
    }

    #[test]
    fn anything_else_gets_an_honest_answer() {
        let Reply::Text(text) = reply(&request("What is love?", &[], &[])) else { panic!() };
        assert!(text.contains("demo model") && text.contains("OPENAI_API_KEY"));
    }
}
