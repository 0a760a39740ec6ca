# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_gb10_provision_api_global_optspecs
    string join \n data-path= listen= allowed-networks= server-names= public-url= max-connections= peer-connections= max-viewers= max-clients= history-limit= record-bytes= install= install-attempts= seed-access= stall-after= fallback-password-hash= arp-table= log= h/help V/version
end

function __fish_gb10_provision_api_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_gb10_provision_api_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_gb10_provision_api_using_subcommand
    set -l cmd (__fish_gb10_provision_api_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l listen -d 'Addresses to listen on where systemd passes no socket, separated by commas' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l allowed-networks -d 'Networks whose devices are served, separated by commas; other peers are disconnected' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l server-names -d 'Names by which operators reach this host besides its own, separated by commas' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l public-url -d 'Base of the URLs for boxes, where they reach this host through another server; without it they go where the box asked' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l max-connections -d 'Connections open at once; further ones wait' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l peer-connections -d 'Connections open at once of one address; further ones are closed' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l max-viewers -d 'Pages that follow the board at once, besides those connections; further ones are refused' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l max-clients -d 'Devices on record; a report of a further one is answered with 507' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l history-limit -d 'Events kept of one device; the oldest are dropped, and counted in its record' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l record-bytes -d 'Bytes kept of one device; the oldest details are cut short, then the oldest events dropped' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l install -d 'When a box that boots from the network is installed: once, armed, always or never' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l install-attempts -d 'Installations that may begin without one being reported done; then the box boots its disk' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l seed-access -d 'Who gets a box\'s user-data: open (whoever asks) or window (that box, while it is installed)' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l stall-after -d 'How long a box may be silent on its way before it counts as stalled, unless the manifest gives its stage a time limit: then that and 5 minutes' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l fallback-password-hash -d 'Crypt hash (crypt(5), as `openssl passwd -6` prints it) of the password that the fallback and the embedded default set; without it the password is gb10-change-me. The first login must choose another' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l arp-table -d 'The kernel\'s ARP table' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -l log -d 'What is logged: error, warn, info, debug or trace, for all or by TARGET=LEVEL' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -s V -l version -d 'Print version'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "check" -d 'Try every staged template and JSON file; print each fault, exit 1 if there is one'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "render" -d 'Print a file of a box\'s seed as that box would get it; nothing goes on record'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "cidata" -d 'Write a box\'s seed as the image of a USB stick that cloud-init finds by its label, CIDATA'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "manifest" -d 'Write or check the list of payloads that devices fetch, {DATA_PATH}/onboard/manifest.json'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "baseline" -d 'Make the list of versions that boxes may have, {DATA_PATH}/baseline.json'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "boot" -d 'Stage, list or remove what boxes boot from the network, {DATA_PATH}/boot'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "doctor" -d 'Say what stands between this host and the first ready box; exit 1 if anything does'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "clients" -d 'Say where every box stands, those that need somebody first; or tell the story of one'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "probe" -d 'Say in one line how the service and its boxes are; exit 0, 1, 2 or 3, for Nagios and the like'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "forget" -d 'Take devices off the record; works whether the service runs or not'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "arm" -d 'Have devices installed at their next boot from the network, whatever became of them before'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "disarm" -d 'Take that back'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "completions" -d 'Print the completions of a shell; the package installs those of bash, zsh and fish'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand check" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand check" -l json -d 'Print one JSON object, for machines'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand check" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand render" -l reached-at -d 'The address of this host that the box reaches, as in `lan_ip` and `provision_url`' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand render" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand render" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand cidata" -l profile -d 'What the box is: one with DGX OS on it, or one that an installer of Ubuntu is started on' -r -f -a "dgx-os\t'Installed when it came: the template dgx-os.yaml.j2'
installer\t'To be installed: the autoinstall that the service gives this box'"
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand cidata" -l reached-at -d 'The address of this host that the box reaches, as in `lan_ip` and `provision_url`' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand cidata" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand cidata" -l force -d 'Replace a file of that name'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand cidata" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and not __fish_seen_subcommand_from write check help" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and not __fish_seen_subcommand_from write check help" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and not __fish_seen_subcommand_from write check help" -f -a "write" -d 'Update the list from the staged files: sizes, checksums, added and removed files'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and not __fish_seen_subcommand_from write check help" -f -a "check" -d 'Print each fault of the manifest and of the files that it lists; exit 1 on a fault'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and not __fish_seen_subcommand_from write check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from write" -l payload -d 'Folder of the payloads, relative to the onboarding folder' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from write" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from write" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from check" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from help" -f -a "write" -d 'Update the list from the staged files: sizes, checksums, added and removed files'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from help" -f -a "check" -d 'Print each fault of the manifest and of the files that it lists; exit 1 on a fault'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand manifest; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and not __fish_seen_subcommand_from from help" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and not __fish_seen_subcommand_from from help" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and not __fish_seen_subcommand_from from help" -f -a "from" -d 'Print the baseline that allows just the versions of a box that is ready'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and not __fish_seen_subcommand_from from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and __fish_seen_subcommand_from from" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and __fish_seen_subcommand_from from" -l write -d 'Write it to {DATA_PATH}/baseline.json instead'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and __fish_seen_subcommand_from from" -l force -d 'Also where there is one already'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and __fish_seen_subcommand_from from" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and __fish_seen_subcommand_from help" -f -a "from" -d 'Print the baseline that allows just the versions of a box that is ready'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand baseline; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -f -a "stage" -d 'Stage an image: the installer\'s ISO and, for shim and GRUB, Ubuntu\'s netboot archive'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -f -a "dnsmasq" -d 'Print the configuration of dnsmasq that fits this host: DHCP and TFTP on the LAN'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -f -a "grub" -d 'Print GRUB\'s configuration, as the service gives it to boxes'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -f -a "list" -d 'List the staged images, and who is installed from them'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -f -a "remove" -d 'Remove a staged image that no box is installed from'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and not __fish_seen_subcommand_from stage dnsmasq grub list remove help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from stage" -l name -d 'Name of the image; without it, one made of the name of the ISO' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from stage" -l sha256 -d 'SHA-256 sum that a FILE must have; for several FILEs, once for each, in their order' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from stage" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from stage" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from dnsmasq" -l interface -d 'The interface on the LAN' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from dnsmasq" -l write -d 'Write it to FILE instead, in one step' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from dnsmasq" -l reached-at -d 'Where boxes reach the service; without it, as gb10-provision-api.socket says, or else 10.88.0.1:8088' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from dnsmasq" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from dnsmasq" -l proxy -d 'Leave the addresses to another DHCP server, and only add what to boot'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from dnsmasq" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from grub" -l reached-at -d 'Where boxes reach the service; without it, as gb10-provision-api.socket says, or else 10.88.0.1:8088' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from grub" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from grub" -l write -d 'Write it to {DATA_PATH}/boot/grub/grub.cfg, where TFTP serves it'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from grub" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from list" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from list" -l json -d 'Print one JSON object, for machines'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from remove" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from remove" -l force -d 'Remove it though site.json or devices.json name it, or every box gets it'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from help" -f -a "stage" -d 'Stage an image: the installer\'s ISO and, for shim and GRUB, Ubuntu\'s netboot archive'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from help" -f -a "dnsmasq" -d 'Print the configuration of dnsmasq that fits this host: DHCP and TFTP on the LAN'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from help" -f -a "grub" -d 'Print GRUB\'s configuration, as the service gives it to boxes'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the staged images, and who is installed from them'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove a staged image that no box is installed from'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand boot; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand doctor" -l interface -d 'The interface on the LAN; without it, the one that has the address' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand doctor" -l reached-at -d 'Where boxes reach the service; without it, as gb10-provision-api.socket says, or else 10.88.0.1:8088' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand doctor" -l dnsmasq-config -d 'The configuration of dnsmasq' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand doctor" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand doctor" -l quick -d 'Do not hash the images'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand doctor" -l json -d 'Print one JSON object, for machines'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand clients" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand clients" -l failed -d 'Only boxes that failed'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand clients" -l stalled -d 'Only boxes that are silent for too long'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand clients" -l json -d 'Print one JSON object, for machines'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand clients" -l suggest-device -d 'Print what devices.json could say of that box, by the facts that it sent'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand clients" -l watch -d 'Live, until q is pressed'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand clients" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand probe" -l reached-at -d 'Where to ask; without it, where gb10-provision-api.socket listens, or else 10.88.0.1:8088' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand probe" -l timeout -d 'Longest that the answer may take' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand probe" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand probe" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand forget" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand forget" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand arm" -l role -d 'Every device that has this role in devices.json' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand arm" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand arm" -l all -d 'Every device that is on record or in devices.json'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand arm" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand disarm" -l role -d 'Every device that has this role in devices.json' -r
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand disarm" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand disarm" -l all -d 'Every device that is on record or in devices.json'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand disarm" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand completions" -l data-path -d 'Folder of templates (cloud-init-templates/), onboarding files (onboard/), what boxes boot (boot/) and state (state/)' -r -F
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand completions" -s h -l help -d 'Print help'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "check" -d 'Try every staged template and JSON file; print each fault, exit 1 if there is one'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "render" -d 'Print a file of a box\'s seed as that box would get it; nothing goes on record'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "cidata" -d 'Write a box\'s seed as the image of a USB stick that cloud-init finds by its label, CIDATA'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "manifest" -d 'Write or check the list of payloads that devices fetch, {DATA_PATH}/onboard/manifest.json'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "baseline" -d 'Make the list of versions that boxes may have, {DATA_PATH}/baseline.json'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "boot" -d 'Stage, list or remove what boxes boot from the network, {DATA_PATH}/boot'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "doctor" -d 'Say what stands between this host and the first ready box; exit 1 if anything does'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "clients" -d 'Say where every box stands, those that need somebody first; or tell the story of one'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "probe" -d 'Say in one line how the service and its boxes are; exit 0, 1, 2 or 3, for Nagios and the like'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "forget" -d 'Take devices off the record; works whether the service runs or not'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "arm" -d 'Have devices installed at their next boot from the network, whatever became of them before'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "disarm" -d 'Take that back'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "completions" -d 'Print the completions of a shell; the package installs those of bash, zsh and fish'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and not __fish_seen_subcommand_from check render cidata manifest baseline boot doctor clients probe forget arm disarm completions help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from manifest" -f -a "write" -d 'Update the list from the staged files: sizes, checksums, added and removed files'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from manifest" -f -a "check" -d 'Print each fault of the manifest and of the files that it lists; exit 1 on a fault'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from baseline" -f -a "from" -d 'Print the baseline that allows just the versions of a box that is ready'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from boot" -f -a "stage" -d 'Stage an image: the installer\'s ISO and, for shim and GRUB, Ubuntu\'s netboot archive'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from boot" -f -a "dnsmasq" -d 'Print the configuration of dnsmasq that fits this host: DHCP and TFTP on the LAN'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from boot" -f -a "grub" -d 'Print GRUB\'s configuration, as the service gives it to boxes'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from boot" -f -a "list" -d 'List the staged images, and who is installed from them'
complete -c gb10-provision-api -n "__fish_gb10_provision_api_using_subcommand help; and __fish_seen_subcommand_from boot" -f -a "remove" -d 'Remove a staged image that no box is installed from'
