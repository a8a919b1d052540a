"""`downshift doctor`: which engines work on this machine."""

from downshift.cli.options import Device, Json

EXAMPLE = "downshift doctor --json"


def doctor(device: Device = None, as_json: Json = False) -> None:
    """Show, for every engine, whether it works here, or the one thing that is missing and the remedy.

    Each engine compiles and runs a sub-net of a bundled network.
    """
    import json
    from dataclasses import asdict

    import typer

    from downshift.cli.console import print_table
    from downshift.models import artifact
    from downshift.models.bundled import locate
    from downshift.runtime.engines.diagnosis import diagnose
    from downshift.runtime.engines.table import ENGINES
    from downshift.runtime.gpu.driver import DeviceChoice
    from downshift.runtime.json_cache import JsonCache, default_folder

    network, cache = artifact.read(locate("cifar10-resnet20")), JsonCache(default_folder())
    found = [diagnose(name, network, cache, DeviceChoice(device)) for name in ENGINES]
    if as_json:
        typer.echo(json.dumps([{**asdict(each), "works": each.works} for each in found], indent=2))
        return
    print_table(
        ("engine", "works", "version"),
        ((each.engine, "yes" if each.works else "no", each.version or "") for each in found),
    )
    for each in found:
        if not each.works:
            typer.echo(f"{each.engine}: {each.missing}; {each.remedy}")
