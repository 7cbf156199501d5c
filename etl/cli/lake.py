"""Commands for the lake itself."""

import typer

from etl.cli.app import SET_UP, app, installation, out, told
from etl.core.lake import FolderLake

lake = typer.Typer(no_args_is_help=True, help="The lake: all that partners sent, and what was made of it.")
app.add_typer(lake, name="lake", rich_help_panel=SET_UP)


@lake.command("create")
def lake_create() -> None:
    """Make the folder or bucket that TALLYBACK_LAKE names, unless it is there (safe to run twice)."""
    with told():
        opened = installation().lake
        if isinstance(opened, FolderLake):
            is_new, place = not opened.root.exists(), str(opened.root)
            opened.root.mkdir(parents=True, exist_ok=True)
        else:
            from etl.core.lake_probe import create_bucket
            from etl.core.s3_lake import S3Lake

            assert isinstance(opened, S3Lake)
            is_new, place = create_bucket(opened), f"s3://{opened.access.bucket}"
        out.print(f"{place} was made." if is_new else f"{place} is there.", highlight=False)
