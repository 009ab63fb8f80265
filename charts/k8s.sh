#!/usr/bin/env bash
# What the k8s-… targets of the Makefile do: k8s.sh ns|secret|deploy|test|backup|logs|pvc|status|download|list|restore|clean
# Needs kubectl and helm, and uses the current context.
#
#   NAMESPACE, RELEASE  namespace and name of the release
#   IMAGE, IMAGE_TAG    deploy: the image with its registry, and its tag, instead of those of the values
#   VALUES              deploy: a values file; without it, the release keeps its values
#   ENV_FILE, SECRET    secret: the environment file with the secrets; the Secret's name, if it is not the release's
#   CLUSTER             which server of a release that has several (an entry of `clusters`)
#   BACKUP, DATABASE    download, restore: which backup (latest), and of or into which database
#   FROM, ARGS          restore: the database that the backup was made of; more arguments of `backup restore`
#   APP, APP_NAMESPACE  restore: what is scaled to 0 meanwhile, and its namespace, if it is not NAMESPACE
#   OUTPUT              download: folder
#   DELETE_DATA=yes     clean: delete the volume as well
#   COMPONENT           logs: backup, verify or restore
#   START_TIMEOUT       seconds that a pod may take to start, and an application to stop (300)
#   ANSWER_TIMEOUT      seconds to wait for a cluster that does not answer (600)
set -euo pipefail
chart=$(cd "$(dirname "$0")" && pwd)/postgres-backup
: "${NAMESPACE:?}" "${RELEASE:?}"
BACKUP=${BACKUP:-latest}
START_TIMEOUT=${START_TIMEOUT:-300}
ANSWER_TIMEOUT=${ANSWER_TIMEOUT:-600}
job=''

say() { echo "$*" >&2; }
die() {
    say "$1"
    exit "${2:-64}"
}
kube() { kubectl --namespace "$NAMESPACE" "$@"; }
# Six characters that make a Job's name unique. They are few because the host name of an Indexed Job's pods, at most 63
# characters, is the Job's name, a dash and the index.
unique() { printf '%06x' $((RANDOM * 512 + RANDOM % 512)); }

# quoted TEXT: as a JSON string
quoted() {
    local text=${1//\\/\\\\}
    [[ $text != *[[:cntrl:]]* ]] || die "names with control characters are not supported here"
    echo "\"${text//\"/\\\"}\""
}

# json WORD…: the words as a JSON array
json() {
    local word list=''
    for word in "$@"; do list+="${list:+, }$(quoted "$word")"; done
    echo "[$list]"
}

# The chart's name for the objects of the release, unless the values override it
fullname() {
    local name=$RELEASE
    [[ $name = *postgres-backup* ]] || name=$name-postgres-backup
    if ((${#name} > 45)); then
        name=$(sed -E 's/^-+|-+$//g' <<<"${name:0:38}")-$(printf %s "$name" | sha256 | cut -c 1-6)
    fi
    echo "$name"
}
sha256() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

selector() { echo "app.kubernetes.io/instance=$RELEASE${1:+,app.kubernetes.io/component=$1}${CLUSTER:+,postgres-backup/cluster=$CLUSTER}"; }

# sets `cronjob` to the one of the backups
find_cronjob() {
    cronjob=$(kube get cronjobs --selector "$(selector backup)" --output 'jsonpath={.items[*].metadata.name}')
    case $cronjob in
        '') die "there is no CronJob of the release $RELEASE in the namespace $NAMESPACE${CLUSTER:+ for CLUSTER=$CLUSTER}; create it with make k8s-deploy" ;;
        *' '*) die "the release $RELEASE has several servers; say which with CLUSTER=: $(kube get cronjobs --selector "$(selector backup)" \
            --output 'jsonpath={.items[*].metadata.labels.postgres-backup/cluster}')" ;;
    esac
}

# like_cronjob NAME [PATCH]: a Job like those of the CronJob
like_cronjob() {
    kube create job "$1" --from="cronjob/$cronjob" --dry-run=client --output json |
        kubectl patch --local --type=strategic --filename - --patch "${2:-"{}"}" --output json |
        kube create --filename - --output name >/dev/null
}

# A patch for a Job that only looks: one pod, no retry, not a success of the CronJob, and these fields of the container. Its
# pod ends at once when it is deleted, and a Job that is left over is deleted an hour after its end.
looking() {
    cat <<J
{"metadata": {"ownerReferences": null, "labels": {"app.kubernetes.io/component": "look"}},
 "spec": {"completionMode": "NonIndexed", "completions": 1, "parallelism": 1, "backoffLimit": 0,
          "backoffLimitPerIndex": null, "podFailurePolicy": null, "ttlSecondsAfterFinished": 3600, "template": {
   "metadata": {"labels": {"app.kubernetes.io/component": "look"}},
   "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "backup", $1,
     "env": [{"name": "SHARD_COUNT", "\$patch": "delete"}, {"name": "LOG_LEVEL", "value": "warn"}]}]
     ${2:-}}}}}
J
}

# What is undone when this script ends. Signals end it at once, even while it waits for kubectl.
scratch=$(mktemp -d)
mkfifo "$scratch/log"
endings=() children=''
at_end() {
    local code=$? ending
    trap - EXIT INT TERM
    trap '' INT TERM
    # shellcheck disable=SC2086
    [[ -z $children ]] || kill $children 2>/dev/null || true
    for ending in ${endings[@]+"${endings[@]}"}; do $ending || true; done
    rm -rf "$scratch"
    exit "$code"
}
stop() {
    [[ -z $job || -n ${endings[*]-} ]] || say "job/$job continues without this command; follow it with $(follow_on), or end it with kubectl -n $NAMESPACE delete job $job"
    exit "$1"
}
trap at_end EXIT
trap 'stop 130' INT
trap 'stop 143' TERM

# in_background COMMAND…: so that a signal need not wait for its end
in_background() {
    local status=0
    "$@" &
    children=$!
    wait "$children" || status=$?
    children=''
    return "$status"
}

follow_on() { echo "kubectl -n $NAMESPACE logs --follow --container backup job/$job"; }
last_error() { sed -n '/./h; ${ g; p; }' "$scratch/error"; }

# answered KUBECTL-WORD…: sets `answer` to what it prints. It waits for a cluster that does not answer, says so once and sets
# `waited`. Fails if the cluster refuses or does not answer in time; `refusal` says which.
answer='' refusal='' waited=''
answered() {
    local deadline=$((SECONDS + ANSWER_TIMEOUT))
    waited=''
    until in_background kubectl --namespace "$NAMESPACE" --request-timeout 20s "$@" >"$scratch/answer" 2>"$scratch/error"; do
        refusal=$(last_error)
        case $refusal in
            *'(Forbidden)'* | *'(NotFound)'* | *'(BadRequest)'* | *'(Invalid)'* | *'(Conflict)'* | *'(AlreadyExists)'* | *'(MethodNotAllowed)'*) return 1 ;;
        esac
        if ((SECONDS >= deadline)); then
            refusal="the cluster has not answered for $ANSWER_TIMEOUT s ($refusal)"
            return 1
        fi
        if [[ -z $waited ]]; then
            say "the cluster does not answer ($refusal); waiting for it for up to $ANSWER_TIMEOUT s${job:+, and job/$job continues meanwhile}"
            waited=yes
        fi
        in_background sleep 1
    done
    answer=$(<"$scratch/answer")
}

# ask KUBECTL-WORD…: the same, and ends the script if there is no answer
ask() {
    local more=''
    answered "$@" && return
    case $job in
        '') ;;
        *-look-*) more='; once it answers, run this again' ;;
        *) more="; job/$job may continue without this command; follow it with $(follow_on)" ;;
    esac
    die "$refusal$more" 69
}

# event OBJECT [WORDS]: the last warning about it, or the last event; with WORDS, the last one that contains them
event() {
    local kind=Pod found warnings
    [[ $1 = pod/* ]] || kind=Job
    found=$(kube --request-timeout 20s get events --field-selector "involvedObject.kind=$kind,involvedObject.name=${1#*/}" \
        --sort-by=.metadata.creationTimestamp \
        --output 'jsonpath={range .items[*]}{.type}{" "}{.reason}{": "}{.message}{"\n"}{end}' 2>/dev/null |
        grep -E '^(Normal|Warning) ' | grep -F -- "${2:-}") || return 0
    warnings=$(grep '^Warning ' <<<"$found") || warnings=$found
    tail -n 1 <<<"${warnings#* }" | sed -E 's/^(Normal|Warning) //'
}

# waits OBJECT REASON: says what it waits for, each reason once: the scheduler's is in the pod's status and in an event, and
# an image whose pull failed is pulled again and again.
why='' told=()
waits() {
    local known
    for known in ${told[@]+"${told[@]}"}; do
        why=$known
        [[ $2 != *"${known#*: }"* && $known != *"${2#*: }"* ]] || return 0
        [[ $2 != ImagePullBackOff:* || $known != *'ailed to pull'* ]] || return 0
    done
    why=$2
    say "$1 waits: $why"
    told+=("$why")
}

# why OBJECT did not start, if it has not been said: a reason that appeared since events were last looked at
last_reason() {
    if [[ -z $why ]]; then why=$(event "$1"); fi
}

# of a pod that has not started: its phase, and below it what each container and the scheduler wait for
state_of_pod='jsonpath={.status.phase}{"\n"}{range .status.initContainerStatuses[*]}{.state.waiting.reason}{": "}{.state.waiting.message}{"\n"}{end}{range .status.containerStatuses[*]}{.state.waiting.reason}{": "}{.state.waiting.message}{"\n"}{end}{range .status.conditions[?(@.type=="PodScheduled")]}{.reason}{": "}{.message}{"\n"}{end}'

# await_start POD: waits until its container has started, and says what it waits for. Fails with 1 if the pod is gone, with 2
# if it does not start in time.
await_start() {
    local phase line found begun=$SECONDS looked=$SECONDS
    why='' told=()
    while :; do
        ask get "$1" --ignore-not-found --output "$state_of_pod"
        [[ -z $waited ]] || begun=$SECONDS
        phase=${answer%%$'\n'*} found=''
        case $phase in
            '') return 1 ;;
            Running | Succeeded | Failed) return 0 ;;
        esac
        while IFS= read -r line; do
            case $line in
                '' | : | ': ' | ContainerCreating: | 'ContainerCreating: ' | PodInitializing: | 'PodInitializing: ') ;;
                *)
                    found=${line%: }
                    break
                    ;;
            esac
        done <<<"${answer#"$phase"}"
        # some reasons are only in the events, such as a volume that is attached to another node
        if [[ -z $found ]] && ((SECONDS >= looked + 10)); then
            found=$(event "$1")
            looked=$SECONDS
        fi
        # of a failed pull, older versions of Kubernetes keep the cause in the status only until they try again
        if [[ $found = ImagePullBackOff:* && $found != *ErrImagePull* && -z ${told[*]-} ]]; then
            line=$(event "$1" 'Failed to pull image')
            found=${line:-$found}
        fi
        [[ -z $found ]] || waits "$1" "$found"
        if ((SECONDS >= begun + START_TIMEOUT)); then
            last_reason "$1"
            return 2
        fi
        in_background sleep 1
    done
}

# find_pods: sets `pods` to those of the Job, oldest first. If there are none for a while, it says why; fails if there are none
# in time.
pods='' without='' looked=0
find_pods() {
    local found
    ask get pods --selector "batch.kubernetes.io/job-name=$job" --sort-by=.metadata.creationTimestamp --output name
    pods=$answer
    if [[ -n $pods || -n $waited || -z $without ]]; then
        without=$SECONDS looked=$SECONDS why='' told=()
    fi
    [[ -z $pods ]] || return 0
    if ((SECONDS >= looked + 10)); then
        found=$(event "job/$job")
        looked=$SECONDS
        waits "job/$job" "${found:-it has no pod yet}"
    fi
    ((SECONDS >= without + START_TIMEOUT)) || return 0
    last_reason "job/$job"
    return 1
}

# unseen: the part of a log with timestamps that has not been shown yet, without them. The lines of the last second are kept,
# below the time to continue from, because that second is sent again. A line without an end is kept apart.
unseen() {
    local line text stamp second since='' newest='' begun='' shown=() known=0 at=0 i rest
    LC_ALL=C
    if [[ -s $scratch/shown ]]; then
        {
            IFS= read -r since
            while IFS= read -r line; do shown+=("$line"); done
        } <"$scratch/shown"
        newest=${since:0:19} begun=${since:0:19} known=${#shown[@]}
    fi
    while IFS= read -r line; do
        for ((i = at; i < known; i++)); do [[ ${shown[i]} != "$line" ]] || break; done
        if ((i < known)); then
            at=$((i + 1))
            continue
        fi
        stamp=${line%% *} text=$line second=''
        if [[ $stamp = [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:* ]]; then
            text=${line#"$stamp"} second=${stamp:0:19}
            text=${text# }
        fi
        # a server that sends more than was asked for repeats what was shown
        [[ -z $second || -z $since || ! $second < $begun ]] || continue
        printf '%s\n' "$text" || exit 1
        if [[ $second > $newest ]]; then
            newest=$second known=0 at=0 shown=("$line")
            stamp=${stamp:19}
            since=$second${stamp#"${stamp%%[!.0-9]*}"}
        elif [[ -z $second || $second = "$newest" ]]; then
            shown+=("$line")
        fi
    done
    rest=$line
    {
        printf '%s\n' "$since"
        for line in ${shown[@]+"${shown[@]}"}; do printf '%s\n' "$line"; done
    } >"$scratch/shown"
    printf '%s' "$rest" >"$scratch/rest"
}

# stream POD: its log from where it was left to the end of the stream, whose status this is
stream() {
    local since='' source filter status=0
    if [[ -s $scratch/shown ]]; then IFS= read -r since <"$scratch/shown"; fi
    kubectl --namespace "$NAMESPACE" logs --follow --timestamps --container backup ${since:+--since-time "$since"} "$1" \
        >"$scratch/log" 2>"$scratch/error" &
    source=$!
    unseen <"$scratch/log" &
    filter=$!
    children="$source $filter"
    # nobody reads the output any more
    wait "$filter" || exit
    wait "$source" || status=$?
    children=''
    return "$status"
}

# show_log POD: each line of its log once, to the end of its container. A stream that ends earlier is resumed; only a stream
# that began after the container's end is certain to have its last lines.
show_log() {
    local ended='' failures=0 rest
    : >"$scratch/shown"
    while :; do
        if stream "$1"; then
            failures=0
            [[ -z $ended ]] || break
        else
            refusal=$(last_error)
            failures=$((failures + 1))
        fi
        if [[ -z $ended ]]; then
            ask get "$1" --ignore-not-found --output \
                'jsonpath={.status.phase} {.status.containerStatuses[?(@.name=="backup")].state.terminated.exitCode}'
            [[ -z $waited ]] || failures=0
            case $answer in
                '') return 0 ;;
                Succeeded* | Failed* | *[0-9])
                    ended=yes failures=0
                    continue
                    ;;
            esac
            if ((failures == 5)); then say "the log of $1 cannot be read ($refusal); waiting for the pod to end"; fi
        elif ((failures)); then
            # this also waits for a cluster that does not answer
            ask get "$1" --ignore-not-found --output name
            [[ -z $waited ]] || failures=0
            if ((failures >= 3)) || [[ -z $answer ]]; then
                say "the end of the log of $1 cannot be read: $refusal"
                return 0
            fi
        fi
        in_background sleep 0.5
    done
    rest=$(<"$scratch/rest")
    [[ -z $rest ]] || printf '%s\n' "${rest#* }"
}

# a Job's name and the conditions that hold; nothing when it is gone
state_of_job='jsonpath={.metadata.name}{range .status.conditions[?(@.status=="True")]} {.type}{end}'

# follow JOB: the logs of its pods until the Job has ended; its exit status is that of the last pod that failed. If a pod does
# not start in time, it sets `unstarted`.
unstarted=''
follow() {
    local job=$1 seen=' ' pod state=' ' code='' failed=''
    unstarted='' without=''
    while [[ $state != *Complete* && $state != *Failed* ]]; do
        ask get job "$job" --ignore-not-found --output "$state_of_job"
        state=$answer
        find_pods || [[ $state != "$job" ]] || unstarted=job/$job
        for pod in $pods; do
            [[ $seen != *" $pod "* ]] || continue
            seen+="$pod "
            await_start "$pod" || case $? in
                1) continue ;;
                *) unstarted=$pod && break ;;
            esac
            show_log "$pod"
            ask get "$pod" --ignore-not-found --output \
                'jsonpath={.status.containerStatuses[?(@.name=="backup")].state.terminated.exitCode}'
            code=$answer
            [[ -z $code || $code = 0 ]] || failed=$code
        done
        if [[ -n $unstarted ]]; then
            say "$unstarted did not start within $START_TIMEOUT s${why:+: $why}"
            return 69
        fi
        if [[ -z $state ]]; then
            [[ $code != 0 || -n $failed ]] || return 0
            die "job/$job was deleted before it ended${failed:+; its last exit code was $failed}" "${failed:-1}"
        fi
        [[ $state = *Complete* || $state = *Failed* ]] || in_background sleep 0.5
    done
    [[ $state != *Complete* ]] || return 0
    answered get job "$job" --ignore-not-found --output 'jsonpath={.status.conditions[?(@.type=="Failed")].message}' || answer=$refusal
    say "job/$job failed: $answer (exit code ${failed:-none})"
    return "${failed:-1}"
}

# remove_job: deletes the Job that only looked
remove_job() {
    if ! kube --request-timeout 20s delete job "$job" --ignore-not-found --wait=false >/dev/null; then
        say "job/$job could not be deleted; it changes nothing, and kubectl -n $NAMESPACE delete job $job deletes it"
        return
    fi
    kube --request-timeout 20s delete pods --selector "batch.kubernetes.io/job-name=$job" --grace-period=1 --wait=false >/dev/null
}

# look CONTAINER-FIELDS [POD-FIELDS]: creates a Job that only looks, and is deleted when this script ends
look() {
    find_cronjob
    job=$cronjob-look-$(unique)
    like_cronjob "$job" "$(looking "$@")"
    endings+=(remove_job)
}

# run WORD…: runs the program with these words
run() {
    look "\"args\": $(json "$@")"
    follow "$job"
}

ns() {
    if kubectl get namespace "$NAMESPACE" >/dev/null 2>&1; then
        say "the namespace $NAMESPACE exists already; it is left unchanged"
    else
        kubectl create namespace "$NAMESPACE"
        kubectl label namespace "$NAMESPACE" pod-security.kubernetes.io/enforce=restricted
    fi
}

secret() {
    local file=${ENV_FILE:-.env} name=${SECRET:-} verb=create lines
    name=${name:-$(fullname)}
    [[ -r $file ]] || die "$file cannot be read; name the environment file with ENV_FILE="
    # read as the program reads it: without byte order mark, carriage returns and blanks before a name
    lines=$(LC_ALL=C sed -E $'1s/^\xef\xbb\xbf//; s/\r$//; s/^[ \t]+//' "$file" |
        LC_ALL=C grep -aE "^($(paste -s -d '|' "$chart/files/secret-settings.txt"))=.") || die "$file holds no secret; its lines are NAME=value"
    if [[ -n $(kube get secret "$name" --ignore-not-found --output name) ]]; then verb=replace; fi
    # not `apply`, which would keep a copy in an annotation
    kubectl create secret generic "$name" --namespace "$NAMESPACE" --from-env-file=<(echo "$lines") --dry-run=client --output yaml |
        kubectl label --local --filename - "app.kubernetes.io/instance=$RELEASE" app.kubernetes.io/managed-by=k8s-secret --output yaml |
        kube "$verb" --filename -
    say "it contains $(LC_ALL=C cut -d= -f1 <<<"$lines" | paste -s -d ' ' -)"
}

deploy() {
    local options=(--reset-then-reuse-values)
    if [[ -n ${VALUES:-} ]]; then options=(--values "$VALUES"); fi
    # IMAGE names its registry, too
    if [[ -n ${IMAGE:-} ]]; then options+=(--set-string "image.repository=$IMAGE,image.registry="); fi
    if [[ -n ${IMAGE_TAG:-} ]]; then options+=(--set-string "image.tag=$IMAGE_TAG"); fi
    helm upgrade --install "$RELEASE" "$chart" --namespace "$NAMESPACE" "${options[@]}"
}

# by_hand NAME [PATCH]: a Job of the CronJob, followed to its end. If none of its pods started, it is deleted; otherwise it
# could start at any time within a day.
by_hand() {
    local name code=0
    find_cronjob
    name=$cronjob-$1-$(unique)
    like_cronjob "$name" "${2:-}"
    job=$name
    say "job/$job"
    follow "$job" || code=$?
    if [[ -n $unstarted ]]; then
        ask get pods --selector "batch.kubernetes.io/job-name=$job" --output 'jsonpath={.items[*].status.phase}'
        answer=${answer//Pending/}
        if [[ -n ${answer// /} ]]; then
            say "job/$job is left, because others of its pods have started; to end it: kubectl -n $NAMESPACE delete job $job"
        else
            kube delete job "$job" --ignore-not-found --wait=false >/dev/null
            say "job/$job was deleted, and nothing was done; fix that and run this again, or wait longer with START_TIMEOUT= (seconds)"
        fi
    fi
    return "$code"
}

logs() {
    local pod component=${COMPONENT:-backup} start
    case $component in
        backup) start='make k8s-test starts one' ;;
        restore) start='make k8s-restore starts one' ;;
        verify)
            start=$(kube get cronjobs --selector "$(selector verify)" --output 'jsonpath={.items[*].metadata.name}')
            start=${start%% *}
            if [[ -n $start ]]; then
                start="kubectl -n $NAMESPACE create job $start-by-hand --from=cronjob/$start starts one"
            else
                start='set verify.enabled to true in the values, and make k8s-deploy creates the CronJob that starts them'
            fi
            ;;
        *) die "COMPONENT must be backup, verify or restore, not $component" ;;
    esac
    pod=$(kube get pods --selector "$(selector "$component")" --sort-by=.metadata.creationTimestamp --output name | tail -n 1)
    [[ -n $pod ]] || die "the release $RELEASE has no $component pod in the namespace $NAMESPACE; $start"
    say "$pod"
    await_start "$pod" || case $? in
        1) die "$pod is gone; try again" 69 ;;
        *) die "$pod did not start within $START_TIMEOUT s${why:+: $why}; it still waits, and kubectl -n $NAMESPACE describe $pod shows its events" 69 ;;
    esac
    show_log "$pod"
}

pvc() {
    kube get pvc --selector "$(selector)"
    look '"command": ["df", "-h", "/backups"], "args": null'
    follow "$job"
}

status() {
    kube get cronjobs,jobs,pods,pvc --selector "$(selector)"
    run status
}

list() { run list ${DATABASE:+"--database=$DATABASE"}; }

download() {
    local output=${OUTPUT:-downloads} pod names name
    look '"command": ["sleep", "infinity"], "args": null' \
        ", \"volumes\": [{\"name\": \"scratch\", \"emptyDir\": {\"sizeLimit\": \"${SCRATCH:-100Gi}\"}}]"
    without=''
    while find_pods || die "job/$job got no pod within $START_TIMEOUT s${why:+: $why}" 69; [[ -z $pods ]]; do in_background sleep 0.5; done
    pod=$pods
    await_start "$pod" || case $? in
        1) die "$pod is gone; try again" 69 ;;
        *) die "$pod did not start within $START_TIMEOUT s${why:+: $why}" 69 ;;
    esac
    kube exec "$pod" --container backup -- backup download ${DATABASE:+"--database=$DATABASE"} --output /tmp/download -- "$BACKUP" ||
        die "nothing was downloaded; instead of --database NAME, write DATABASE=NAME" $?
    names=$(kube exec "$pod" --container backup -- ls /tmp/download)
    mkdir -p "$output"
    # shellcheck disable=SC2016
    kube exec "$pod" --container backup -- sh -c 'cd "$1" && tar -cf - -- *' sh /tmp/download | tar -C "$output" --no-same-owner -xf -
    cd "$output"
    for name in $names; do
        if [[ $name = *.sha256 ]]; then sha256 -c "$name"; fi
    done
}

# make_restore ATTEMPT WORD…: renders the restore Job with the release's own values and creates it; sets `job`
make_restore() {
    local own restore attempt=$1 server
    shift
    server=$(kubectl version --output json | sed -n '/serverVersion/,$ s/.*"gitVersion": *"\([^"]*\)".*/\1/p')
    own=$(helm get values "$RELEASE" --namespace "$NAMESPACE" --output yaml)
    restore="{\"restore\": {\"database\": $(quoted "$DATABASE"), \"confirm\": $(quoted "$DATABASE"), \"backup\": $(quoted "$BACKUP"),
        \"from\": $(quoted "${FROM:-}"), \"attempt\": \"$attempt\", \"args\": $(json "$@")}}"
    if [[ -n ${CLUSTER:-} ]]; then restore="{\"clusters\": {\"$CLUSTER\": $restore}}"; fi
    restore=$(helm template "$RELEASE" "$chart" --namespace "$NAMESPACE" --values <(echo "$own") --values <(echo "$restore") \
        ${server:+--kube-version "$server"} --show-only templates/restore-job.yaml)
    job=$(kube create --output 'jsonpath={.metadata.name}' --filename - <<<"$restore")
}

# what is scaled down: each application and its replicas
apps=() replicas=() home=${APP_NAMESPACE:-$NAMESPACE}
scale_up() {
    local at
    for at in ${apps[@]+"${!apps[@]}"}; do
        if ANSWER_TIMEOUT=60 answered --namespace "$home" scale "${apps[at]}" --replicas "${replicas[at]}"; then
            echo "$answer"
        else
            say "${apps[at]} was not scaled up ($refusal); do it by hand: kubectl -n $home scale ${apps[at]} --replicas ${replicas[at]}"
        fi
    done
}

# A restore that has not ended when this script ends is stopped before the application is scaled up again.
end_restore() {
    local state=unknown
    if [[ -n $job ]]; then
        if ANSWER_TIMEOUT=60 answered get job "$job" --ignore-not-found --output "$state_of_job"; then state=$answer; fi
        if [[ $state != *Complete* && $state != *Failed* ]] &&
            ! kube delete job "$job" --ignore-not-found --cascade=foreground --timeout 60s; then
            say "job/$job may still be running, so ${apps[*]:-nothing} in the namespace $home stays scaled down: delete the Job, then scale up by hand"
            return
        fi
    fi
    scale_up
}

scale_down() {
    local app count deadline=$((SECONDS + START_TIMEOUT))
    for app in ${APP:-}; do
        ask --namespace "$home" get "$app" --output 'jsonpath={.spec.replicas}'
        count=$answer
        ask --namespace "$home" scale "$app" --replicas 0
        echo "$answer"
        apps+=("$app") replicas+=("$count")
    done
    for app in ${apps[@]+"${apps[@]}"}; do
        while ask --namespace "$home" get "$app" --output 'jsonpath={.status.replicas}' && [[ ! $answer =~ ^0?$ ]]; do
            ((SECONDS < deadline)) || die "$app in the namespace $home did not stop within $START_TIMEOUT s; nothing was restored" 69
            in_background sleep 0.5
        done
    done
}

restore() {
    local words=() word app plan code=0 attempt
    [[ -n ${DATABASE:-} ]] || die "name the database to restore into with DATABASE=, and, if several are backed up, the one to restore from with FROM="
    find_cronjob
    while IFS= read -r word; do words+=("$word"); done < <(if [[ -n ${ARGS:-} ]]; then xargs -n 1 printf '%s\n' <<<"$ARGS"; fi)
    for app in ${APP:-}; do
        kubectl --namespace "$home" get "$app" --output name >/dev/null ||
            die "nothing was changed: $app cannot be read in the namespace $home; if it is in another one, name that with APP_NAMESPACE=" 1
    done
    attempt=$(date -u +%Y%m%d)-$(unique)
    make_restore "$attempt-plan" ${words[@]+"${words[@]}"} --dry-run
    endings=(remove_job)
    follow "$job" || code=$?
    if ((code)); then
        plan=$(kube --request-timeout 20s logs "job/$job" --container backup 2>/dev/null) || plan=''
        [[ $plan != *--database* ]] || say "instead of --database NAME, write FROM=NAME; other options go into ARGS=, such as ARGS='--source NAME'"
        die "the restore could not be planned; nothing was changed" "$code"
    fi
    ask logs "job/$job" --container backup
    plan=$answer
    remove_job
    endings=() job=''
    # the same backup as in the plan, even if a newer one is made meanwhile
    if [[ $BACKUP = latest && ${ARGS:-} != *--before* ]]; then BACKUP=$(awk '$1 == "backup" { print $2; exit }' <<<"$plan"); fi
    [[ -n $BACKUP ]] || die "the plan names no backup; nothing was changed" 70
    if [[ -z ${CONFIRM:-} ]]; then
        [[ -t 0 ]] || die "nothing was changed: without a terminal, confirm with CONFIRM=$DATABASE"
        if [[ -n ${APP:-} ]]; then say "Scaled to 0 in the namespace $home meanwhile: $APP"; fi
        read -r -p "Type the name of the database to restore $BACKUP into $DATABASE: " CONFIRM
    fi
    [[ $CONFIRM = "$DATABASE" ]] || die "nothing was changed: $CONFIRM is not $DATABASE"
    endings=(end_restore)
    scale_down
    make_restore "$attempt" ${words[@]+"${words[@]}"}
    follow "$job" || code=$?
    exit "$code"
}

clean() {
    [[ -z ${CLUSTER:-} ]] || die "the release is uninstalled as a whole; to remove only the server $CLUSTER, take it out of the values and run make k8s-deploy"
    helm uninstall "$RELEASE" --namespace "$NAMESPACE" --ignore-not-found
    kube delete jobs --selector "$(selector)"
    kube delete secrets --selector "app.kubernetes.io/instance=$RELEASE,app.kubernetes.io/managed-by=k8s-secret"
    if [[ ${DELETE_DATA:-} = yes ]]; then
        kube delete pvc --selector "$(selector)"
    else
        kube get pvc --selector "$(selector)"
        say "the backups in these claims are kept; make k8s-clean DELETE_DATA=yes deletes them as well"
    fi
}

for tool in kubectl $(case ${1:-} in deploy | restore | clean) echo helm ;; esac); do
    command -v "$tool" >/dev/null || die "$tool is needed; install it" 69
done
case ${1:-} in
    ns | secret | deploy | logs | pvc | status | download | list | restore | clean) "$1" ;;
    test) by_hand test ;;
    backup) by_hand manual '{"spec": {"template": {"spec": {"containers": [{"name": "backup", "args": ["run", "--type", "manual"]}]}}}}' ;;
    *) die "$(sed -n '2p' "$0")" ;;
esac
