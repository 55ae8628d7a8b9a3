//! What a run prints and writes.

use crate::setup::Bench;

/// The lines, with each number behind `<= ` as `#`: times are never the same.
fn lines(text: &str) -> Vec<String> {
    let line = |line: &str| match line.split_once("<= ") {
        None => line.to_owned(),
        Some((front, rest)) => {
            let unit = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
            assert!(unit.len() < rest.len(), "a number in {line}");
            format!("{front}<= #{unit}")
        }
    };
    text.lines().map(line).collect()
}

const DISTRIBUTION: [&str; 11] = [
    "50% <= #μs",
    "66% <= #μs",
    "75% <= #μs",
    "80% <= #μs",
    "90% <= #μs",
    "95% <= #μs",
    "98% <= #μs",
    "99% <= #μs",
    "99.5% <= #μs",
    "99.9% <= #μs",
    "100% <= #μs (longest request)",
];

pub(crate) fn a_cycle_has_the_originals_lines() {
    let bench = Bench::start();
    let ran = bench.run("-m put -n 50 -p 4 -s 10 -i 2");
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
    let mut expected = vec![
        format!("Initialising client connections from {}", bench.file("nodes").display()),
        "Dht performance tester:".to_owned(),
        "    performing 50 put requests to channel 'test' each test cycle, with up to 4 requets in \
         parallel"
            .to_owned(),
        "    putting records of 10 bytes".to_owned(),
    ];
    for iteration in ["1", "2"] {
        let title = "Time distribution of 50 put requests:";
        expected.push(format!("Iteration {iteration} of 2. {title}"));
        expected.extend(DISTRIBUTION.map(str::to_owned));
        expected.push("0 requests (0.00%) failed".to_owned());
    }
    assert_eq!(lines(&ran.stdout), expected);
}

pub(crate) fn limits_have_lines_of_their_own() {
    let bench = Bench::start();
    let ran = bench.run("-c other -n 3 -t 0 -T 60000 -i 1");
    assert!(!ran.stdout.contains("putting records"));
    let found = lines(&ran.stdout);
    let expected = [
        "0 requests (0.00%) failed",
        "3 requests (100.00%) took longer than 0μs",
        "0 requests (0.00%) timed out",
    ];
    assert_eq!(found[found.len() - 3..], expected);
    let long = bench.run("-n 3 -t 4000000000 -i 1");
    assert!(long.stdout.ends_with("\n0 requests (0.00%) took longer than 4000000000μs\n"));
}

pub(crate) fn each_node_has_a_table() {
    let half = ["0x7fffffffffffffff", "0x8000000000000000"];
    let bench =
        Bench::start_with(&[("0x0000000000000000", half[0]), (half[1], "0xffffffffffffffff")]);
    let ran = bench.run("-m put -n 40 -i 1 -N");
    let titles = bench.nodes.iter().map(|node| format!("| {}", node.address()));
    let row = ran.stdout.lines().find(|line| titles.clone().all(|title| line.contains(&title)));
    assert!(row.is_some(), "both in one row: {}", ran.stdout);
    let below = ran.stdout.split("Total times:\n").nth(1).expect("the sum of both");
    assert_eq!(lines(below)[..11], DISTRIBUTION);
    let apart = bench.run("-n 40 -i 1 -N 1");
    assert_eq!(apart.stdout.lines().filter(|line| line.contains("50% <=")).count(), 3);
    let [cycle] = &bench.json("-n 40 -i 1 -N")[..] else { panic!("one cycle") };
    for node in &bench.nodes {
        let requests = &cycle["by_node"][node.address().to_string()]["requests"];
        assert_eq!(requests, 20, "keys alternate between the halves");
    }
}

pub(crate) fn histogram_and_plot_are_written() {
    let bench = Bench::start();
    let [histogram, svg, html] = ["h.hgrm", "p.svg", "p.html"].map(|name| bench.file(name));
    let ran = bench.run(&format!(
        "--mix get=1,put=1 -n 200 --mode closed -p 2 -i 2 --histogram {} --plot {}",
        histogram.display(),
        svg.display()
    ));
    assert_eq!((ran.exit, ran.stderr.as_str()), (0, ""));
    let read = |path| std::fs::read_to_string(path).expect("it was written");
    let histogram = read(histogram);
    assert!(histogram.contains("Total count    =          400]"), "both cycles: {histogram}");
    let svg = read(svg);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<polyline ").count(), 2, "a line for each kind");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    let ran = bench.run(&format!("-n 5 -i 1 --plot {}", html.display()));
    assert_eq!(ran.exit, 0);
    assert!(read(html).contains("<td>exists<td>5<td>0<td>"));
    let ran = bench.run("-n 5 -i 1 --json no/such/folder/file");
    assert_eq!(ran.exit, 1);
    assert!(ran.stderr.starts_with("cannot write no/such/folder/file: "), "{}", ran.stderr);
}
