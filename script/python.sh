# Sourced by script/server, script/test and script/lint, from the checkout's root: checks the Python, then makes .venv hold
# the packages of one requirements file.

countersign_python() {
    python=${PYTHON:-python3}
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || version=
    case $version in
        3.1[1-9] | 3.[2-9][0-9]) ;;
        "") echo "countersign: Python 3.11 or newer is needed, and $python does not run. Install it, or name one with PYTHON=..." >&2; exit 1 ;;
        *) echo "countersign: Python 3.11 or newer is needed, and $python is $version. Install it, or name one with PYTHON=..." >&2; exit 1 ;;
    esac
    "$python" script/virtual_environment.py "$1" || exit 1
}
