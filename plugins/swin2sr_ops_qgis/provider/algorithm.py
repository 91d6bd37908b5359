"""Define ``swin2sr:restore``: the command line as an algorithm of QGIS's Processing."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingException,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from . import runner

_HELP = """Restores a raster with a Swin2SR or SwinIR network: super-resolution, denoising or removal of JPEG \
artefacts, depending on the model. Works tile by tile in bounded memory; the result does not depend on the tiles.

Models marked "to be fetched" are downloaded first if you tick so under Advanced.

CRS, affine, band names, nodata and masks are kept. Red, green and blue bands are restored together.

After Cancel, run it again with the same output file: it resumes the run."""
_PRECISIONS = ["auto", "float32", "float64", "bfloat16"]
_ENGINES = ["auto", "torch", "native", "openvino", "triton"]


class RestoreRaster(QgsProcessingAlgorithm):  # type: ignore[misc]  # QGIS has no types
    """The algorithm "Restore raster"."""

    def name(self) -> str:
        """Return the name for scripts."""
        return "restore"

    def displayName(self) -> str:
        """Return the name for users."""
        return "Restore raster"

    def shortHelpString(self) -> str:
        """Return the text beside the parameters."""
        return _HELP

    def tags(self) -> list[str]:
        """Return words for the search box."""
        return ["super-resolution", "upscale", "denoise", "sharpen", "swin2sr", "swinir"]

    def createInstance(self) -> RestoreRaster:
        """Create a copy, which QGIS runs."""
        return RestoreRaster()

    def initAlgorithm(self, _configuration: Any = None) -> None:
        """Create the form."""
        try:
            models = runner.labelled(runner.read_settings())
        except RuntimeError:  # the folder was copied by hand; the run will raise an error
            models = []
        choices = QgsProcessingParameterEnum(
            "MODEL",
            "Model",
            options=["auto", "fast", "good", "best", *models],
            defaultValue="auto",
            usesStaticStrings=True,
        )
        self.addParameter(QgsProcessingParameterRasterLayer("INPUT", "Raster"))
        self.addParameter(choices)
        precision = QgsProcessingParameterEnum(
            "PRECISION", "Precision", options=_PRECISIONS, defaultValue="auto", usesStaticStrings=True
        )
        engine = QgsProcessingParameterEnum(
            "ENGINE",
            "Engine: native is the fastest on a CPU",
            options=_ENGINES,
            defaultValue="auto",
            usesStaticStrings=True,
        )
        whole = QgsProcessingParameterNumber.Integer
        for parameter in (
            QgsProcessingParameterFile("CHECKPOINT", "Checkpoint instead of a listed model", optional=True),
            QgsProcessingParameterBoolean("FETCH", "Fetch the model first if it is not on this disk", False),
            QgsProcessingParameterNumber(
                "SCALE", "Scale (default: that of the model)", whole, optional=True, minValue=1, maxValue=8
            ),
            QgsProcessingParameterEnum(
                "ENSEMBLE",
                "Ensemble: 8 averages mirrored and rotated runs, at eight times the cost",
                options=["1", "8"],
                defaultValue="1",
                usesStaticStrings=True,
            ),
            QgsProcessingParameterString("RANGE", "Intensity range: auto, dtype, LO,HI or p1,p99.8", "auto"),
            QgsProcessingParameterString("HALO", "Halo: exact, or pixels around a tile such as 16", "exact"),
            QgsProcessingParameterNumber(
                "NODATA", "Nodata (default: the raster's own)", QgsProcessingParameterNumber.Double, optional=True
            ),
            QgsProcessingParameterRasterLayer("MASK", "Mask: not zero at valid pixels", optional=True),
            QgsProcessingParameterNumber(
                "TILE", "Tile in pixels (default: as large as memory allows)", whole, optional=True, minValue=1
            ),
            QgsProcessingParameterString(
                "CONSISTENT", "Bind to the input: mean, or psf=SIGMA (default: neither)", optional=True
            ),
            QgsProcessingParameterString("DEVICE", "Device: auto, cpu, cuda, cuda:1, mps", "auto"),
            precision,
            engine,
        ):
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
            self.addParameter(parameter)
        self.addParameter(QgsProcessingParameterRasterDestination("OUTPUT", "Restored"))

    def processAlgorithm(self, parameters: Any, context: Any, feedback: Any) -> dict[str, Any]:
        """Run the command, show its progress, stop it on Cancel."""
        src = _path(self.parameterAsRasterLayer(parameters, "INPUT", context))
        dst = self.parameterAsOutputLayer(parameters, "OUTPUT", context)
        try:
            settings, options = runner.read_settings(), self._options(parameters, context)
            if self.parameterAsBool(parameters, "FETCH", context) and runner.is_missing(settings, options["model"]):
                feedback.setProgressText(f"Fetching {options['model']}")
                words = runner.fetch_command(settings["python"], options["model"])
                runner.follow(words, _Teller(feedback), feedback.isCanceled)
            words = runner.command(settings["python"], src, dst, options)
            feedback.pushCommandInfo(" ".join(words[words.index("restore") :]))
            runner.follow(words, _Teller(feedback), feedback.isCanceled)
        except runner.Stopped:
            feedback.pushInfo("Stopped. Finished tiles are kept: run again with the same output to resume.")
            return {}
        except RuntimeError as exc:
            raise QgsProcessingException(str(exc)) from exc
        return {"OUTPUT": dst}

    def _options(self, parameters: Any, context: Any) -> dict[str, Any]:
        """Return the form's values as options of the command line."""
        mask = self.parameterAsRasterLayer(parameters, "MASK", context)
        given = {name: parameters.get(name) is not None for name in ("NODATA", "TILE", "SCALE")}
        checkpoint = self.parameterAsFile(parameters, "CHECKPOINT", context)
        return {
            "model": checkpoint or runner.model_of(self.parameterAsEnumString(parameters, "MODEL", context)),
            "scale": self.parameterAsInt(parameters, "SCALE", context) if given["SCALE"] else None,
            "ensemble": self.parameterAsEnumString(parameters, "ENSEMBLE", context),
            "range": self.parameterAsString(parameters, "RANGE", context),
            "halo": self.parameterAsString(parameters, "HALO", context),
            "nodata": repr(self.parameterAsDouble(parameters, "NODATA", context)) if given["NODATA"] else None,
            "mask": None if mask is None else _path(mask),
            "tile": self.parameterAsInt(parameters, "TILE", context) if given["TILE"] else None,
            "consistent": self.parameterAsString(parameters, "CONSISTENT", context),
            "device": self.parameterAsString(parameters, "DEVICE", context),
            "precision": self.parameterAsEnumString(parameters, "PRECISION", context),
            "engine": self.parameterAsEnumString(parameters, "ENGINE", context),
        }


class _Teller:
    """Show events in QGIS."""

    def __init__(self, feedback: Any) -> None:
        self.feedback = feedback

    def __call__(self, event: dict[str, Any]) -> None:
        kind, done = event["kind"], runner.percent(event)
        if done is not None:
            self.feedback.setProgress(done)
        if kind == "note":
            self.feedback.pushInfo(event["text"])
        elif kind == "range" and event["done"] == 1:
            self.feedback.setProgressText("Computing the intensity range")
        elif kind == "start":
            there = f", {event['done']} of them are finished" if event["done"] else ""
            self.feedback.setProgressText(f"Restoring {event['total']} tiles{there}")
        elif kind == "pyramid" and event["done"] == 1:
            self.feedback.setProgressText(f"Overview {event['level']}")


def _path(layer: Any) -> str:
    if layer is None or layer.providerType() != "gdal":
        raise QgsProcessingException(
            "Only rasters in files can be restored, not services or databases: export the layer as a GeoTIFF first."
        )
    return str(layer.source())
