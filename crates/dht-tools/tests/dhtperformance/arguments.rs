//! The command line.

use crate::setup::run;

pub(crate) fn help_and_version_are_told() {
    let help = run("--help");
    assert_eq!((help.exit, help.stderr.as_str()), (0, ""));
    for option in ["-S, --source ", "-N, --per-node-mode ", "    --zipf-exponent "] {
        assert!(help.stdout.contains(option), "{}", help.stdout);
    }
    let version = run("--version");
    assert!(version.stdout.starts_with("dhtperformance version "), "{}", version.stdout);
    assert!(run("--build-info").stdout.contains("rustc"));
}

pub(crate) fn wrong_arguments_are_told_all_at_once() {
    let told = |line: &str| {
        let ran = run(line);
        assert_eq!((ran.exit, ran.stdout.as_str()), (2, ""), "{line}");
        let hint = "\nType dhtperformance -h for help\n";
        ran.stderr.strip_suffix(hint).expect("where help is").to_owned()
    };
    assert_eq!(told(""), "argument 'source' is missing\n");
    // The original's words.
    for (line, problem) in [
        ("-d 1000000", "--processing-time argument can't exceed 1.000.000  μs (1 second)"),
        ("-r 1000000", "--request-rate can't exceed 1.000.000 requests per second"),
        ("-r 0", "--request-rate must be at least 1 request per second"),
        ("-N 0", "--per-node-mode can't print less than 1 table per row"),
        ("-n x", "--number must be a number from 1 to 18446744073709551615, not 'x'"),
        ("-s 0", "--size must be a number from 1 to 10485760, not '0'"),
        ("-m fill", "--command must be one of exists, get, put, remove, not 'fill'"),
        ("-k y", "--single-key must be a 64-bit number like 42 or 0x2a, not 'y'"),
        ("--mode open", "--mode open needs --request-rate"),
        ("--mode closed -r 5", "--request-rate needs --mode lock-step or open"),
        ("--pipeline 2", "--pipeline must be a number from 1 to 1, not '2'"),
        ("--threads 2 -p 2", "--threads and --pipeline need --mode closed or open"),
        ("--mode closed --threads 2", "there must be a connection for each of --threads at least"),
        ("--protocol neo", "--protocol neo needs --auth, a credentials file"),
        ("--protocol memcached", "memcached has no exists request"),
        ("--plot x.png", "--plot must be the name of a file that ends with .svg or .html"),
        ("-p 20000", "--parallel can't exceed 10000 connections; or set --connections"),
    ] {
        assert_eq!(told(&format!("-S no/such/file {line}")), format!("{problem}\n"), "{line}");
    }
    let several = told("-S f -d 1000000 -r 0 --nonsense");
    assert_eq!(several, "unexpected argument 'nonsense'\n", "the parser's own come first");
    assert_eq!(told("-S f -n 0 --mix get=1,get=2 --keys some").lines().count(), 3);
    let missing = run("-S no/such/file");
    assert_eq!(missing.exit, 1);
    assert!(missing.stderr.starts_with("cannot read nodes file no/such/file: "));
}
