"""A phantom as a DICOM Digital X-Ray image that says it is simulated (PS3.3 A.26)."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from hilum import __version__
from hilum.phantom.film import Film, Position
from hilum.phantom.physics import CENTRE_DETECTOR, GREY_LEVELS, SOURCE_DETECTOR

# imaging recognises a simulated film by this name together with QualityControlImage YES.
MODEL_NAME = "Hilum phantom"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


# Per position: side of the patient at the detector, directions of rows and columns (PS3.3
# C.7.6.1.1.1), and the view (PS3.16 CID 4010).
_VIEWS = {
    "PA": ("U", ["L", "F"], ("272479007", "SCT", "postero-anterior")),
    "LL": ("L", ["P", "F"], ("399173006", "SCT", "left lateral")),
}


def to_dicom(film: Film, name: str, inverted: bool, position: Position = "PA") -> Dataset:
    """The film as 12-bit MONOCHROME2, or MONOCHROME1 where ``inverted``.

    UIDs depend on ``name`` and the film's size alone, and no date is written, so the bytes are
    reproducible.
    """
    size = film.pixels.shape[0]
    ds = Dataset()
    _identity(ds, name, size, position)
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.DerivationDescription = "Simulated by the Hilum phantom; no patient"
    ds.QualityControlImage = "YES"
    ds.Manufacturer, ds.ManufacturerModelName = "Hilum", MODEL_NAME
    ds.SoftwareVersions = __version__
    laterality, directions, view = _VIEWS[position]
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", position
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.PositionerType, ds.DetectorType = "NONE", "DIRECT"
    ds.ImageLaterality, ds.PatientOrientation = laterality, directions
    ds.AnatomicRegionSequence = [_code("816094009", "SCT", "Chest")]
    ds.ViewCodeSequence = [_code(*view)]
    ds.ViewCodeSequence[0].ViewModifierCodeSequence = []
    ds.AcquisitionContextSequence = []
    ds.DetectorPrimaryAngle = ds.DetectorSecondaryAngle = None
    ds.PositionerPrimaryAngle = ds.PositionerSecondaryAngle = None
    ds.ImagerPixelSpacing = [round(film.mm_per_pixel, 6)] * 2
    ds.DistanceSourceToDetector = SOURCE_DETECTOR
    ds.DistanceSourceToPatient = SOURCE_DETECTOR - CENTRE_DETECTOR
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.PixelIntensityRelationship = "LOG"
    ds.PixelIntensityRelationshipSign = 1 if inverted else -1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.WindowCenter, ds.WindowWidth = GREY_LEVELS / 2, GREY_LEVELS
    pixels = np.uint16(GREY_LEVELS - 1) - film.pixels if inverted else film.pixels
    ds.PixelData = pixels.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def _identity(ds: Dataset, name: str, size: int, position: Position) -> None:
    """Names and UIDs of a patient who does not exist; the views of one share the study's UID."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    kinds = ("study", "series", "image" if position == "PA" else f"image {position}")
    study, series, image = (generate_uid(entropy_srcs=[name, str(size), kind]) for kind in kinds)
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study, series, image
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = image
    ds.PatientName, ds.PatientID = "PHANTOM^HILUM", name
    ds.PatientBirthDate = ds.PatientSex = ds.StudyDate = ds.StudyTime = ""
    ds.AccessionNumber = ds.StudyID = ds.ReferringPhysicianName = ""
    ds.SeriesNumber, ds.InstanceNumber = 1, list(_VIEWS).index(position) + 1
    ds.ContentDate = ds.ContentTime = ds.AcquisitionDate = ds.AcquisitionTime = ""
