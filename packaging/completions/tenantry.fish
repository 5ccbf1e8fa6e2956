# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_tenantry_global_optspecs
    string join \n h/help V/version
end

function __fish_tenantry_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_tenantry_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_tenantry_using_subcommand
    set -l cmd (__fish_tenantry_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c tenantry -n "__fish_tenantry_needs_command" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_needs_command" -s V -l version -d 'Print version'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "usage" -d 'Show what jobs used and were allocated'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "jobs" -d 'Show jobs, one line for each run'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "top" -d 'Show running jobs by the CPUs they use now'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "reconcile" -d 'Compare a period\'s records with Slurm\'s accounting, and name the cause of every difference'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "check-config" -d 'Check tenants.toml and tenants.d/*.toml'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "tenants" -d 'Check, show and apply the tenants\' limits and policies on this node'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "doctor" -d 'Find what on this node and in Slurm\'s configuration weakens isolation or billing'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "plugin" -d 'Choose the build of the SPANK plugin that Slurm loads on this machine'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "quickstart" -d 'Take a node with Slurm and the packages to its first usage'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "spool" -d 'Look at this node\'s spool: what waits for the ledger, whether it is whole, its blocks'
complete -c tenantry -n "__fish_tenantry_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l tenant -d 'This tenant and those that stand in it, like acme or acme/physics' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l job -d 'This job: all its runs, on all nodes' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l user -d 'This user\'s jobs, by name or uid' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l since -d 'From then on: 2026-11-22T10:00:00Z, 2026-11-22, 2026-11, today, yesterday, or 36h, 7d ago. Without --by: runs that had not ended then' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l until -d 'Up to then, exclusively' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l by -d 'Add up by these, separated by commas: tenant, user, account, job, node, day, hour. What is added up is what fell into the period, by windows that begin in it' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l plot -d 'Draw one figure over the period, a bar for each hour, or for each day of more than three' -r -f -a "cpu\t'CPU time used, in core-hours'
allocated-cpu\t'CPUs allocated, in core-hours'
memory\t'Memory used over time, in GiB-hours'
allocated-memory\t'Memory allocated over time, in GiB-hours'
read\t'MiB read from disks'
written\t'MiB written to disks'
received\t'MiB received from other hosts'
sent\t'MiB sent to other hosts'"
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l format -d 'table: units in the header, figures rounded down, "-" for what was not measured, ">=" for a total over records of which some lack the figure. json: the server\'s report. csv: every figure in base units, empty for what was not measured; a text a spreadsheet would take for a formula begins with \'' -r -f -a "table\t''
json\t''
csv\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l socket -d 'The server\'s socket for readers [default: /run/tenantry-server/api.sock]' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l server -d 'A server on another machine, like `https://meter.example:9747`; several with commas between' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l ca -d 'The authorities that the server\'s certificate may be from' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l certificate -d 'Your certificate' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -l key -d 'Its key' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand usage" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l tenant -d 'This tenant and those that stand in it, like acme or acme/physics' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l job -d 'This job: all its runs, on all nodes' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l user -d 'This user\'s jobs, by name or uid' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l since -d 'From then on: 2026-11-22T10:00:00Z, 2026-11-22, 2026-11, today, yesterday, or 36h, 7d ago. Without --by: runs that had not ended then' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l until -d 'Up to then, exclusively' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l format -d 'table: units in the header. json and csv: the records, one for each run on each node' -r -f -a "table\t''
json\t''
csv\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l socket -d 'The server\'s socket for readers [default: /run/tenantry-server/api.sock]' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l server -d 'A server on another machine, like `https://meter.example:9747`; several with commas between' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l ca -d 'The authorities that the server\'s certificate may be from' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l certificate -d 'Your certificate' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -l key -d 'Its key' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand jobs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l tenant -d 'This tenant and those that stand in it' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l user -d 'This user\'s jobs, by name or uid' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l interval -d 'Seconds from one refresh to the next' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l format -d 'table; or json and csv, once: the running jobs\' records' -r -f -a "table\t''
json\t''
csv\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l socket -d 'The server\'s socket for readers [default: /run/tenantry-server/api.sock]' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l server -d 'A server on another machine, like `https://meter.example:9747`; several with commas between' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l ca -d 'The authorities that the server\'s certificate may be from' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l certificate -d 'Your certificate' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l key -d 'Its key' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -l once -d 'Show it once and end; so also where the output is no terminal'
complete -c tenantry -n "__fish_tenantry_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l sacct -d 'Run `sacct`, or read its output from a file: with a header line, times in seconds since 1970' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l since -d 'Runs that ended from then on; a day ago' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l until -d 'Up to then, exclusively; now' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l ticks -d 'By how much Slurm\'s CPU time may be more than the kernel\'s, in percent, for its clock ticks' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l format -d 'table, json, csv' -r -f -a "table\t''
json\t''
csv\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l socket -d 'The server\'s socket for readers [default: /run/tenantry-server/api.sock]' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l server -d 'A server on another machine, like `https://meter.example:9747`; several with commas between' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l ca -d 'The authorities that the server\'s certificate may be from' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l certificate -d 'Your certificate' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l key -d 'Its key' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -l unexplained -d 'Only differences without a known cause'
complete -c tenantry -n "__fish_tenantry_using_subcommand reconcile" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand check-config" -l dir -d 'Where tenants.toml stands' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand check-config" -l format -d 'How the result is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand check-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -l dir -d 'Where tenants.toml stands' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -l format -d 'How the result is written' -r -f -a "table\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -f -a "check" -d 'Check the file, and whether this node has what it gives out'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -f -a "show" -d 'Show the limits and policies of a tenant, or of all, beside those its group has'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -f -a "tree" -d 'Show the tenants in one another, the jobs in each and what they use'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -f -a "diff" -d 'Show the limits and policies that running tenants have otherwise than the file says'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -f -a "apply" -d 'Put the limits and policies of the tenants that run now in force (as root)'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and not __fish_seen_subcommand_from check show tree diff apply help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from check" -l dir -d 'Where tenants.toml stands' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from check" -l format -d 'How the result is written' -r -f -a "table\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from show" -l dir -d 'Where tenants.toml stands' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from show" -l format -d 'How the result is written' -r -f -a "table\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from tree" -l dir -d 'Where tenants.toml stands' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from tree" -l format -d 'How the result is written' -r -f -a "table\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from tree" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from diff" -l dir -d 'Where tenants.toml stands' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from diff" -l format -d 'How the result is written' -r -f -a "table\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from apply" -l dir -d 'Where tenants.toml stands' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from apply" -l format -d 'How the result is written' -r -f -a "table\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from help" -f -a "check" -d 'Check the file, and whether this node has what it gives out'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the limits and policies of a tenant, or of all, beside those its group has'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from help" -f -a "tree" -d 'Show the tenants in one another, the jobs in each and what they use'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from help" -f -a "diff" -d 'Show the limits and policies that running tenants have otherwise than the file says'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from help" -f -a "apply" -d 'Put the limits and policies of the tenants that run now in force (as root)'
complete -c tenantry -n "__fish_tenantry_using_subcommand tenants; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand doctor" -l format -d 'text: the worst last, coloured on a terminal. json: a list of findings' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand doctor" -l slurm-conf -d 'slurm.conf, or the directory it stands in; by default where Slurm itself would look' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand doctor" -l root -d 'A tree of files and recorded commands to examine in place of this machine' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and not __fish_seen_subcommand_from select status off help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and not __fish_seen_subcommand_from select status off help" -f -a "select" -d 'Have Slurm load the build for its version, once that has passed its trial'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and not __fish_seen_subcommand_from select status off help" -f -a "status" -d 'Say what is loaded, or why nothing is'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and not __fish_seen_subcommand_from select status off help" -f -a "off" -d 'Have Slurm load no plugin; refused while jobs run in their tenants here'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and not __fish_seen_subcommand_from select status off help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from select" -l slurmd -d 'The slurmd that is asked for its version' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from select" -l only-if-on -d 'Leave it off where it is off: it comes on when slurmd starts'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from select" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from status" -l format -d 'How it is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from off" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from help" -f -a "select" -d 'Have Slurm load the build for its version, once that has passed its trial'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from help" -f -a "status" -d 'Say what is loaded, or why nothing is'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from help" -f -a "off" -d 'Have Slurm load no plugin; refused while jobs run in their tenants here'
complete -c tenantry -n "__fish_tenantry_using_subcommand plugin; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand quickstart" -l user -d 'The user whose job is run; by default the first of Slurm\'s that this node knows' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand quickstart" -l format -d 'How it is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand quickstart" -l yes -d 'Do what is shown without it'
complete -c tenantry -n "__fish_tenantry_using_subcommand quickstart" -l no-job -d 'Run no job'
complete -c tenantry -n "__fish_tenantry_using_subcommand quickstart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -l spool -d 'The spool' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -l format -d 'How the answer is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -f -a "status" -d 'How much waits, since when, and what is kept'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -f -a "verify" -d 'Read every block: checksum, signature, number, and the hash of the one before. Ends with 65 where something is wrong'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -f -a "export" -d 'Write blocks as files NODE-BOOT-SEQUENCE.tnbk into a directory; docs/block-format.md has their format'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -f -a "replay" -d 'Have the daemon send blocks again that the ledger has acknowledged: after a disaster there. It takes each once'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and not __fish_seen_subcommand_from status verify export replay help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from status" -l spool -d 'The spool' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from status" -l format -d 'How the answer is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from verify" -l spool -d 'The spool' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from verify" -l format -d 'How the answer is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from export" -l boot -d 'Of this boot only' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from export" -l first -d 'From this sequence on' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from export" -l last -d 'Up to this sequence' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from export" -l to -d 'The directory; it is made where it is not there' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from export" -l spool -d 'The spool' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from export" -l format -d 'How the answer is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from replay" -l boot -d 'Of this boot only' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from replay" -l first -d 'From this sequence on' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from replay" -l last -d 'Up to this sequence' -r
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from replay" -l spool -d 'The spool' -r -F
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from replay" -l format -d 'How the answer is written' -r -f -a "text\t''
json\t''"
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from replay" -s h -l help -d 'Print help'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "status" -d 'How much waits, since when, and what is kept'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Read every block: checksum, signature, number, and the hash of the one before. Ends with 65 where something is wrong'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "export" -d 'Write blocks as files NODE-BOOT-SEQUENCE.tnbk into a directory; docs/block-format.md has their format'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "replay" -d 'Have the daemon send blocks again that the ledger has acknowledged: after a disaster there. It takes each once'
complete -c tenantry -n "__fish_tenantry_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "usage" -d 'Show what jobs used and were allocated'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "jobs" -d 'Show jobs, one line for each run'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "top" -d 'Show running jobs by the CPUs they use now'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "reconcile" -d 'Compare a period\'s records with Slurm\'s accounting, and name the cause of every difference'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "check-config" -d 'Check tenants.toml and tenants.d/*.toml'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "tenants" -d 'Check, show and apply the tenants\' limits and policies on this node'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "doctor" -d 'Find what on this node and in Slurm\'s configuration weakens isolation or billing'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "plugin" -d 'Choose the build of the SPANK plugin that Slurm loads on this machine'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "quickstart" -d 'Take a node with Slurm and the packages to its first usage'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "spool" -d 'Look at this node\'s spool: what waits for the ledger, whether it is whole, its blocks'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and not __fish_seen_subcommand_from usage jobs top reconcile check-config tenants doctor plugin quickstart spool help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from tenants" -f -a "check" -d 'Check the file, and whether this node has what it gives out'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from tenants" -f -a "show" -d 'Show the limits and policies of a tenant, or of all, beside those its group has'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from tenants" -f -a "tree" -d 'Show the tenants in one another, the jobs in each and what they use'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from tenants" -f -a "diff" -d 'Show the limits and policies that running tenants have otherwise than the file says'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from tenants" -f -a "apply" -d 'Put the limits and policies of the tenants that run now in force (as root)'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from plugin" -f -a "select" -d 'Have Slurm load the build for its version, once that has passed its trial'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from plugin" -f -a "status" -d 'Say what is loaded, or why nothing is'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from plugin" -f -a "off" -d 'Have Slurm load no plugin; refused while jobs run in their tenants here'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "status" -d 'How much waits, since when, and what is kept'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "verify" -d 'Read every block: checksum, signature, number, and the hash of the one before. Ends with 65 where something is wrong'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "export" -d 'Write blocks as files NODE-BOOT-SEQUENCE.tnbk into a directory; docs/block-format.md has their format'
complete -c tenantry -n "__fish_tenantry_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "replay" -d 'Have the daemon send blocks again that the ledger has acknowledged: after a disaster there. It takes each once'
